//! Keys as bytes whose order is the order of the values, within one column type.
//!
//! Encoding    integers, timestamps and characters big-endian, the sign bit flipped; floats by their bits, inverted when
//!             negative, else with the sign bit flipped, and one zero; strings as they are; an address as its version and
//!             octets; null as nine bytes 255. No string holds that byte and no other encoding is all 255 for nine
//!             bytes, so null is above every value of its column and costs the others nothing.
//! Source      the float order is IEEE 754 `totalOrder`; the rest is common practice.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::row::{ColumnType, IndexSpec, OwnedValue, RowError, Value};

/// The key bytes of null.
pub const NULL: [u8; 9] = [0xff; 9];

/// Calls `f` with the key bytes of `value`.
#[inline]
pub fn with_key<R>(value: Value<'_>, f: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        Value::Null => f(&NULL),
        Value::Bool(flag) => f(&[u8::from(flag)]),
        Value::I16(number) => f(&(number ^ i16::MIN).to_be_bytes()),
        Value::I32(number) => f(&(number ^ i32::MIN).to_be_bytes()),
        Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => {
            f(&(number ^ i64::MIN).to_be_bytes())
        }
        Value::F32(number) => f(&ordered32(number).to_be_bytes()),
        Value::F64(number) => f(&ordered64(number).to_be_bytes()),
        Value::Char(letter) => f(&u32::from(letter).to_be_bytes()),
        Value::Str(text) => f(text.as_bytes()),
        Value::Inet(IpAddr::V4(address)) => {
            let mut bytes = [4; 5];
            bytes[1..].copy_from_slice(&address.octets());
            f(&bytes)
        }
        Value::Inet(IpAddr::V6(address)) => {
            let mut bytes = [6; 17];
            bytes[1..].copy_from_slice(&address.octets());
            f(&bytes)
        }
        Value::Mac(octets) => f(&octets),
    }
}

/// The key of a number, and of what is stored as one, as its bytes filled up to eight with zeros, and how many they are; `None` of
/// other values.
#[inline]
pub fn short_key(value: Value<'_>) -> Option<(u64, u64)> {
    Some(match value {
        Value::Bool(flag) => (u64::from(flag) << 56, 1),
        Value::I16(number) => (u64::from((number ^ i16::MIN).cast_unsigned()) << 48, 2),
        Value::I32(number) => (u64::from((number ^ i32::MIN).cast_unsigned()) << 32, 4),
        Value::I64(number) | Value::Timestamp(number) | Value::TimestampMicros(number) => {
            ((number ^ i64::MIN).cast_unsigned(), 8)
        }
        Value::F32(number) => (u64::from(ordered32(number)) << 32, 4),
        Value::F64(number) => (ordered64(number), 8),
        Value::Char(letter) => (u64::from(u32::from(letter)) << 32, 4),
        Value::Null | Value::Str(_) | Value::Inet(_) | Value::Mac(_) => return None,
    })
}

/// Appends the key bytes of `value` to `out`.
#[inline]
pub fn key_bytes(value: Value<'_>, out: &mut Vec<u8>) {
    with_key(value, |key| out.extend_from_slice(key));
}

/// Appends the key that an index has of `value`: its key bytes, or, of a hash, their hash; null is null in both.
#[inline]
pub fn entry_key(spec: IndexSpec, value: Value<'_>, out: &mut Vec<u8>) {
    with_key(value, |key| match hashed(spec, key) {
        Some(hash) => out.extend_from_slice(&hash.to_be_bytes()),
        None => out.extend_from_slice(key),
    });
}

/// Do two values of a column have one key in an index: because they are equal, or have one hash?
#[inline]
pub fn is_one_entry(spec: IndexSpec, left: Value<'_>, right: Value<'_>) -> bool {
    let hash_of = |value| with_key(value, |key| hashed(spec, key));
    left == right || (spec.is_hash && hash_of(left).is_some() && hash_of(left) == hash_of(right))
}

/// The hash under which an index has key bytes, if that is how it has them.
#[inline]
pub fn hashed(spec: IndexSpec, key: &[u8]) -> Option<u64> {
    // So that tests meet values that share one.
    #[cfg(test)]
    let key = if key.starts_with(SAME_HASH.as_bytes()) { SAME_HASH.as_bytes() } else { key };
    (spec.is_hash && key != NULL).then(|| hash(key))
}

/// Texts that begin so have one hash.
#[cfg(test)]
pub(crate) const SAME_HASH: &str = "same hash ";

/// The hash of key bytes; never 0, so that 0 can mean an empty place.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes).max(1)
}

/// The value that `bytes` are the key of, in a column of type `kind`.
///
/// # Errors
/// [`RowError::Corrupt`] for bytes that are the key of no value of that type.
pub fn key_value(kind: ColumnType, bytes: &[u8]) -> Result<OwnedValue, RowError> {
    let value = if bytes == NULL { Some(OwnedValue::Null) } else { decode(kind, bytes) };
    value.ok_or(RowError::Corrupt { what: "key", offset: 0, reason: "no value of the column's type" })
}

fn decode(kind: ColumnType, bytes: &[u8]) -> Option<OwnedValue> {
    Some(match kind {
        ColumnType::Bool => match bytes {
            [byte @ (0 | 1)] => OwnedValue::Bool(*byte == 1),
            _ => return None,
        },
        ColumnType::I16 => OwnedValue::I16(i16::from_be_bytes(bytes.try_into().ok()?) ^ i16::MIN),
        ColumnType::I32 => OwnedValue::I32(i32::from_be_bytes(bytes.try_into().ok()?) ^ i32::MIN),
        ColumnType::I64 => OwnedValue::I64(signed64(bytes)?),
        ColumnType::Timestamp => OwnedValue::Timestamp(signed64(bytes)?),
        ColumnType::TimestampMicros => OwnedValue::TimestampMicros(signed64(bytes)?),
        ColumnType::F32 => OwnedValue::F32(unordered32(u32::from_be_bytes(bytes.try_into().ok()?))),
        ColumnType::F64 => OwnedValue::F64(unordered64(u64::from_be_bytes(bytes.try_into().ok()?))),
        ColumnType::Char => OwnedValue::Char(char::from_u32(u32::from_be_bytes(bytes.try_into().ok()?))?),
        ColumnType::FixedString(_) | ColumnType::String(_) => {
            OwnedValue::Str(std::str::from_utf8(bytes).ok()?.into())
        }
        ColumnType::Inet => OwnedValue::Inet(match bytes.split_first()? {
            (4, octets) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
            (6, octets) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
            _ => return None,
        }),
        ColumnType::Mac => OwnedValue::Mac(bytes.try_into().ok()?),
    })
}

fn signed64(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?) ^ i64::MIN)
}

const SIGN32: u32 = 1 << 31;
const SIGN64: u64 = 1 << 63;

/// Adding positive zero first makes the two zeros one.
#[inline]
fn ordered32(number: f32) -> u32 {
    let bits = (number + 0.0).to_bits();
    if bits & SIGN32 == 0 { bits | SIGN32 } else { !bits }
}

#[inline]
fn ordered64(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits();
    if bits & SIGN64 == 0 { bits | SIGN64 } else { !bits }
}

fn unordered32(ordered: u32) -> f32 {
    f32::from_bits(if ordered & SIGN32 == 0 { !ordered } else { ordered & !SIGN32 })
}

fn unordered64(ordered: u64) -> f64 {
    f64::from_bits(if ordered & SIGN64 == 0 { !ordered } else { ordered & !SIGN64 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::arbitrary;

    fn key(value: Value<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        key_bytes(value, &mut bytes);
        bytes
    }

    #[test]
    fn zeros_share_a_key() {
        assert_eq!(key(Value::F64(-0.0)), key(Value::F64(0.0)));
        assert_eq!(key(Value::F32(-0.0)), key(Value::F32(0.0)));
    }

    #[test]
    fn null_is_above_every_value() {
        let v6 = IpAddr::V6(Ipv6Addr::from([0xff; 16]));
        for value in [
            Value::Bool(true),
            Value::I16(i16::MAX),
            Value::I64(i64::MAX),
            Value::F64(f64::MAX),
            Value::Char(char::MAX),
            Value::Str("\u{10ffff}"),
            Value::Inet(v6),
            Value::Mac([0xff; 6]),
        ] {
            assert!(key(value) < key(Value::Null), "{value}");
        }
    }

    #[test]
    fn no_hash_is_zero() {
        assert_ne!(hash(b""), 0);
        assert_ne!(hash(b"BEL3881"), hash(b"BEL3882"));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(key_value(ColumnType::I32, b"abc").is_err());
        assert!(key_value(ColumnType::Bool, &[2]).is_err());
        assert!(key_value(ColumnType::FixedString(4), &[0xfe]).is_err());
        assert!(key_value(ColumnType::Inet, &[5, 0, 0, 0, 0]).is_err());
        assert_eq!(key_value(ColumnType::Mac, &NULL), Ok(OwnedValue::Null));
    }
    fn pair() -> impl Strategy<Value = (ColumnType, OwnedValue, OwnedValue)> {
        arbitrary::column_type().prop_flat_map(|kind| {
            let value = || prop_oneof![9 => arbitrary::value(kind), 1 => Just(OwnedValue::Null)];
            (Just(kind), value(), value())
        })
    }

    proptest! {
        #[test]
        fn the_order_of_keys_is_the_order_of_values((_, a, b) in pair()) {
            prop_assert_eq!(key(a.as_value()).cmp(&key(b.as_value())), a.cmp(&b));
        }

        #[test]
        fn a_short_key_is_the_key((_, value, _) in pair()) {
            if let Some((prefix, length)) = short_key(value.as_value()) {
                let mut bytes = key(value.as_value());
                prop_assert_eq!(bytes.len() as u64, length);
                bytes.resize(8, 0);
                prop_assert_eq!(prefix.to_be_bytes(), &bytes[..]);
            }
        }

        #[test]
        fn keys_read_back((kind, value, _) in pair()) {
            prop_assert_eq!(key_value(kind, &key(value.as_value())), Ok(value));
        }

        #[test]
        fn hostile_keys_never_panic(kind in arbitrary::column_type(), bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = key_value(kind, &bytes);
        }
    }
}
