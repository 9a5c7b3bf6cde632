//! Tcl's internal text against UTF-8.
//!
//! Tcl 8.6 keeps strings in a modified UTF-8: NUL is `C0 80`, and a character beyond U+FFFF is a pair of surrogates of
//! three bytes each. Rows hold standard UTF-8 without NUL. Text that is the same in both forms, which is nearly all,
//! is borrowed.
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// Why Tcl's text cannot be stored. Offsets are bytes from 0 in Tcl's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextError {
    /// A NUL character.
    Nul(usize),
    /// Half a surrogate pair, or bytes that are no UTF-8 in any form.
    Malformed(usize),
}

/// Standard UTF-8 for `bytes` in Tcl's form.
pub(super) fn from_tcl(bytes: &[u8]) -> Result<Cow<'_, str>, TextError> {
    match std::str::from_utf8(bytes) {
        // An object's bytes never hold a plain NUL, except when C code made the object from such bytes.
        Ok(text) => match text.bytes().position(|byte| byte == 0) {
            None => Ok(Cow::Borrowed(text)),
            Some(offset) => Err(TextError::Nul(offset)),
        },
        Err(_) => decode(bytes).map(Cow::Owned),
    }
}

/// As [`from_tcl`], but NULs stay, as the byte 0, and malformed bytes stay as they are: for data whose reader checks
/// every field and reports the line.
pub(super) fn data_from_tcl(bytes: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(bytes).is_ok() {
        return Cow::Borrowed(bytes);
    }
    let mut data = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, ..] = rest {
        let length = if let Some(character) = surrogate_pair(rest) {
            data.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            6
        } else if rest.starts_with(&[0xC0, 0x80]) {
            data.push(0);
            2
        } else {
            data.push(*first);
            1
        };
        rest = &rest[length..];
    }
    Cow::Owned(data)
}

/// Tcl's form of `text`.
pub(super) fn to_tcl(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == 0 || byte >= 0xF0) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len() + 8);
    for character in text.chars() {
        match u32::from(character) {
            0 => bytes.extend_from_slice(&[0xC0, 0x80]),
            1..=0xFFFF => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    bytes.extend_from_slice(&surrogate_bytes(*unit));
                }
            }
        }
    }
    Cow::Owned(bytes)
}

#[cold]
fn decode(bytes: &[u8]) -> Result<String, TextError> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => valid,
            Err(reason) => std::str::from_utf8(&rest[..reason.valid_up_to()]).unwrap_or_default(),
        };
        if let Some(nul) = valid.bytes().position(|byte| byte == 0) {
            return Err(TextError::Nul(bytes.len() - rest.len() + nul));
        }
        text.push_str(valid);
        rest = &rest[valid.len()..];
        if rest.is_empty() {
            break;
        }
        let offset = bytes.len() - rest.len();
        if rest.starts_with(&[0xC0, 0x80]) {
            return Err(TextError::Nul(offset));
        }
        text.push(surrogate_pair(rest).ok_or(TextError::Malformed(offset))?);
        rest = &rest[6..];
    }
    Ok(text)
}

/// The character whose two surrogates, of three bytes each, `bytes` starts with.
fn surrogate_pair(bytes: &[u8]) -> Option<char> {
    let &[
        0xED,
        high @ 0xA0..=0xAF,
        high_low @ 0x80..=0xBF,
        0xED,
        low @ 0xB0..=0xBF,
        low_low @ 0x80..=0xBF,
        ..,
    ] = bytes
    else {
        return None;
    };
    let unit = |middle: u8, last: u8| 0xD000 | (u16::from(middle & 0x3F) << 6) | u16::from(last & 0x3F);
    char::decode_utf16([unit(high, high_low), unit(low, low_low)]).next()?.ok()
}

/// The three bytes that Tcl gives the surrogate `unit`.
fn surrogate_bytes(unit: u16) -> [u8; 3] {
    let [high, low] = unit.to_be_bytes();
    let middle = ((high & 0x0F) << 2) | (low >> 6);
    [0xE0 | (high >> 4), 0x80 | middle, 0x80 | (low & 0x3F)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: &[u8] = &[0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80];

    #[test]
    fn plain_text_is_borrowed_both_ways() {
        assert!(matches!(from_tcl("Zürich €".as_bytes()), Ok(Cow::Borrowed("Zürich €"))));
        assert!(matches!(to_tcl("Zürich €"), Cow::Borrowed(_)));
    }

    #[test]
    fn characters_beyond_the_basic_plane_travel_as_surrogate_pairs() {
        assert_eq!(to_tcl("a\u{1F600}b").as_ref(), [b"a", FACE, b"b"].concat());
        assert_eq!(from_tcl(&[b"a", FACE, b"b"].concat()).unwrap(), "a\u{1F600}b");
        for character in ['\u{10000}', '\u{10FFFF}', '\u{1F4A9}'] {
            let text = character.to_string();
            assert_eq!(from_tcl(&to_tcl(&text)).unwrap(), text);
        }
    }

    #[test]
    fn nul_is_found_in_both_forms() {
        assert_eq!(from_tcl(b"ab\xC0\x80"), Err(TextError::Nul(2)));
        assert_eq!(from_tcl(b"a\0"), Err(TextError::Nul(1)));
        assert_eq!(from_tcl(&[FACE, b"\0"].concat()), Err(TextError::Nul(6)));
    }

    #[test]
    fn half_a_pair_is_malformed() {
        assert_eq!(from_tcl(&FACE[..3]), Err(TextError::Malformed(0)));
        assert_eq!(from_tcl(&[b"xy", &FACE[3..]].concat()), Err(TextError::Malformed(2)));
        assert_eq!(from_tcl(b"\xFF"), Err(TextError::Malformed(0)));
    }

    #[test]
    fn data_keeps_what_its_reader_must_see() {
        assert_eq!(
            data_from_tcl(&[b"a\t", FACE, b"\xC0\x80\xED"].concat()).as_ref(),
            "a\t\u{1F600}\0".as_bytes().iter().copied().chain([0xED]).collect::<Vec<_>>()
        );
        assert!(matches!(data_from_tcl(b"a\tb"), Cow::Borrowed(_)));
    }
}
