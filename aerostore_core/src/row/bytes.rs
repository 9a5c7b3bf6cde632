//! Little-endian numbers in byte slices, and the variable-length ones of deltas.
#![forbid(unsafe_code)]

use super::error::RowError;

/// The `N` bytes at `at`. Callers have checked that they are there; a slip of ours panics.
#[inline]
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// The u32 at `at`; see [`array_at`].
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The u64 at `at`; see [`array_at`].
#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Writes `value` at `at`; see [`array_at`].
#[inline]
pub(crate) fn put_at<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// Appends `number`, seven bits to a byte, lowest first, the eighth set in all but the last.
#[inline]
pub(crate) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Reads hostile bytes from front to back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`, which are a `what`, for errors.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    /// Whether everything was read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// An error at the current place.
    #[cold]
    pub(crate) fn corrupt(&self, reason: &'static str) -> RowError {
        RowError::Corrupt { what: self.what, offset: self.at as u64, reason }
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], RowError> {
        let taken = self.bytes[self.at..].get(..count).ok_or_else(|| RowError::Truncated {
            what: self.what,
            needed: (self.at as u64).saturating_add(count as u64),
            available: self.bytes.len() as u64,
        })?;
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        self.take(N).map(|taken| array_at(taken, 0))
    }

    /// The next variable-length number.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, RowError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return Err(self.corrupt("overlong number"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.corrupt("overlong number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_length_numbers_round_trip() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            let mut reader = Reader::new("number", &bytes);
            assert_eq!(reader.varint(), Ok(number));
            assert_eq!(reader.at(), bytes.len());
            assert!(Reader::new("number", &bytes[..bytes.len() - 1]).varint().is_err());
        }
    }

    #[test]
    fn a_number_has_one_encoding() {
        for bytes in [&[0x80, 0][..], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(matches!(Reader::new("number", bytes).varint(), Err(RowError::Corrupt { .. })));
        }
    }
}
