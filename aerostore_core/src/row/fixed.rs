//! A string held in place: the Rust type of a fixed-string column.
#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use super::error::RowError;
use super::kind::ColumnType;

/// UTF-8 without NUL of at most `N` bytes; the bytes behind it are zero, so that it lies in a row image as it is.
///
/// ```
/// use aerostore_core::row::FixedString;
///
/// let flight: FixedString<8> = "BEL3881".parse()?;
/// assert_eq!(flight, "BEL3881");
/// assert!("a longer one".parse::<FixedString<8>>().is_err());
/// # Ok::<(), aerostore_core::row::RowError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct FixedString<const N: usize>([u8; N]);

/// Up to this length eight bytes at a time are quicker than getting a search for long texts under way.
const SHORT_BYTES: usize = 64;
const LOW_BITS: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);

/// The part of `bytes` before the first NUL.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    if bytes.len() > SHORT_BYTES {
        return trim_long(bytes);
    }
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let nuls = nuls_in(u64::from_le_bytes(*word));
        if nuls != 0 {
            return &bytes[..length + nuls.trailing_zeros() as usize / 8];
        }
        length += 8;
    }
    for byte in rest {
        if *byte == 0 {
            break;
        }
        length += 1;
    }
    &bytes[..length]
}

/// Whether `text` is what [`trim`] leaves of `bytes`, which are zero from their first NUL on: decided without looking for that.
#[inline]
pub(crate) fn is_trimmed_to(bytes: &[u8], text: &[u8]) -> bool {
    let ends = bytes.get(text.len()).is_none_or(|next| *next == 0);
    ends && text.last() != Some(&0) && bytes.starts_with(text)
}

#[inline(never)]
fn trim_long(bytes: &[u8]) -> &[u8] {
    memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end])
}

/// The high bits of the bytes of `word` that are zero. Those above the first may be wrong: what is borrowed for a zero
/// byte is missing above it.
#[inline]
const fn nuls_in(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

/// Whether `bytes` are all ASCII, and so UTF-8: decided without a look at them one by one.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word));
    let rest = rest.iter().fold(0, |all, byte| all | byte);
    (words | u64::from(rest)) & HIGH_BITS == 0
}

/// Whether `bytes` are UTF-8. Mostly they are ASCII, which is proved sooner.
#[inline]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    (bytes.len() <= SHORT_BYTES && is_ascii(bytes)) || std::str::from_utf8(bytes).is_ok()
}

/// The bytes of [`valid_text`].
#[inline]
pub(super) fn valid_bytes(bytes: &[u8]) -> &[u8] {
    if is_text(bytes) { bytes } else { valid_text(bytes).as_bytes() }
}

/// The text in `bytes`, or as much of it as is UTF-8.
#[inline]
pub(crate) fn valid_text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

impl<const N: usize> FixedString<N> {
    /// The empty string.
    pub const EMPTY: Self = Self([0; N]);

    /// The string in an image's bytes. What follows a NUL is dropped; bytes that are no UTF-8 are kept, and the
    /// string reads as what stands before them.
    pub fn from_padded(bytes: [u8; N]) -> Self {
        let mut padded = bytes;
        padded[trim(&bytes).len()..].fill(0);
        Self(padded)
    }

    /// The bytes, with the zeros behind the text.
    pub const fn padded(&self) -> &[u8; N] {
        &self.0
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        valid_text(trim(&self.0))
    }
}

impl<const N: usize> TryFrom<&str> for FixedString<N> {
    type Error = RowError;

    fn try_from(text: &str) -> Result<Self, RowError> {
        let column = || ColumnType::FixedString(u16::try_from(N).unwrap_or(u16::MAX)).to_string();
        if let Some(offset) = memchr::memchr(0, text.as_bytes()) {
            return Err(RowError::Nul { column: column(), offset });
        }
        let mut padded = [0; N];
        let Some(room) = padded.get_mut(..text.len()) else {
            let max_bytes = u32::try_from(N).unwrap_or(u32::MAX);
            return Err(RowError::TooLong { column: column(), max_bytes, found_bytes: text.len() as u64 });
        };
        room.copy_from_slice(text.as_bytes());
        Ok(Self(padded))
    }
}

impl<const N: usize> FromStr for FixedString<N> {
    type Err = RowError;

    fn from_str(text: &str) -> Result<Self, RowError> {
        text.try_into()
    }
}

impl<const N: usize> Default for FixedString<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> Deref for FixedString<N> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> PartialEq<str> for FixedString<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<const N: usize> PartialEq<&str> for FixedString<N> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<const N: usize> PartialOrd for FixedString<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Ord for FixedString<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<const N: usize> Hash for FixedString<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl<const N: usize> fmt::Display for FixedString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl<const N: usize> fmt::Debug for FixedString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_compared_as_it_would_be_trimmed() {
        for text in ["", "a", "AE000001", "exactly sixteen.", "one byte too much"] {
            let mut bytes = [0; 16];
            let length = text.len().min(16);
            bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
            for other in ["", "a", "b", "AE000001", "AE00000", "AE0000011", "a\0", "exactly sixteen.", text] {
                let expected = trim(&bytes) == other.as_bytes();
                assert_eq!(is_trimmed_to(&bytes, other.as_bytes()), expected, "{text:?} {other:?}");
            }
        }
    }

    /// All bytes and texts of a few letters. Only bytes that are not padded with zeros can be mistaken, and for a text with a NUL,
    /// which no column takes.
    #[test]
    fn short_text_is_compared_as_it_would_be_trimmed() {
        let words = |length| {
            (0..3_usize.pow(length)).map(move |word| -> Vec<u8> {
                (0..length).map(|place| [0, b'a', b'b'][word / 3_usize.pow(place) % 3]).collect()
            })
        };
        for bytes in (0..5).flat_map(words) {
            let is_padded = bytes[trim(&bytes).len()..].iter().all(|byte| *byte == 0);
            for text in (0..6).flat_map(words).filter(|text| is_padded || !text.contains(&0)) {
                assert_eq!(is_trimmed_to(&bytes, &text), trim(&bytes) == text, "{bytes:?} {text:?}");
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(FixedString::<4>::try_from("abcd").map(|text| text.len()), Ok(4));
        assert!(matches!(
            FixedString::<4>::try_from("abcde"),
            Err(RowError::TooLong { max_bytes: 4, found_bytes: 5, .. })
        ));
        assert!(matches!(FixedString::<4>::try_from("a\0"), Err(RowError::Nul { offset: 1, .. })));
    }

    #[test]
    fn orders_as_text_does() {
        let parse = |text: &str| FixedString::<6>::try_from(text).unwrap();
        let mut sorted = [parse("b"), parse("ab"), parse("a"), parse(""), parse("\u{e9}")];
        sorted.sort();
        assert_eq!(sorted.map(|text| text.to_string()), ["", "a", "ab", "b", "\u{e9}"]);
    }

    #[test]
    fn reads_damaged_bytes_as_far_as_they_go() {
        assert_eq!(FixedString::from_padded([b'a', 0, b'b', 0]).padded(), &[b'a', 0, 0, 0]);
        assert_eq!(FixedString::from_padded([b'a', 0xff, b'b', 0]).as_str(), "a");
    }

    /// Bytes in which zeros, ones, and what borrows from a neighbour are frequent.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0x80), any::<u8>(), b'A'..=b'Z'], 0..90)
    }

    proptest! {
        #[test]
        fn the_first_nul_ends_the_text(bytes in bytes(), text in "[ -~\u{e9}\u{20ac}]{0,70}") {
            for bytes in [&bytes, text.as_bytes()] {
                let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                prop_assert_eq!(trim(bytes), &bytes[..length]);
            }
        }

        #[test]
        fn the_bytes_of_a_text_are_its_valid_ones(bytes in bytes(), text in "[ -~\u{e9}\u{20ac}]{0,70}") {
            for bytes in [&bytes, text.as_bytes()] {
                prop_assert_eq!(valid_bytes(bytes), valid_text(bytes).as_bytes());
            }
        }
    }
}
