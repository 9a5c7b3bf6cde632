//! Tab-separated text: where lines end and where fields end.
//!
//! Shape       lines are found by `memchr`; the fields of a line by a scan that turns 64 bytes at a time into a
//!             bitmap of separators, because a search per field costs more than the five to ten bytes of a field.
//! Rules       T1: a line ends at a line feed or at the end of the input. T2: one carriage return directly before a
//!             line feed, or before the end of the input, belongs to the line end. T3: a line has one field more than
//!             it has separators, so an empty line has one empty field. Nothing is quoted and no byte is special else.
//! Portability SSE2 is part of every `x86_64`; elsewhere eight words of eight bytes yield the same bitmap.
//! Unsafe      one call, of a function that needs SSE2; that function itself is safe code.

#![deny(unsafe_code)]

/// Bytes that one bitmap covers.
const BLOCK_BYTES: usize = 64;

/// Where one line lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Index of the line's first byte.
    pub start: usize,
    /// Index just after its last byte, line end not counted.
    pub end: usize,
    /// Index of the next line's first byte.
    pub next: usize,
}

/// Finds the line that starts at `start`; `None` when the buffer ends before the line does.
///
/// With `last`, the end of the buffer is the end of the input and so ends a line too; `None` then means that there is
/// no further line.
#[inline]
pub fn line_at(buffer: &[u8], start: usize, last: bool) -> Option<Line> {
    let rest = buffer.get(start..)?;
    let (length, terminator) = match memchr::memchr(b'\n', rest) {
        Some(length) => (length, 1),
        None if last && !rest.is_empty() => (rest.len(), 0),
        None => return None,
    };
    let trimmed = length - usize::from(length > 0 && rest[length - 1] == b'\r');
    Some(Line { start, end: start + trimmed, next: start + length + terminator })
}

/// The fields of `line`, cut at each `separator`.
pub fn fields(line: &[u8], separator: u8) -> Fields<'_> {
    Fields::new(line, 0, line.len(), separator)
}

/// The fields of the line that `line` locates in `buffer`, cut at each `separator`.
///
/// Bytes after the line may be loaded, never returned, so in a long buffer no block but the last needs a copy.
///
/// # Panics
///
/// When `line` does not lie inside `buffer`.
#[inline]
pub fn fields_of(buffer: &[u8], line: Line, separator: u8) -> Fields<'_> {
    Fields::new(buffer, line.start, line.end, separator)
}

/// Iterator over the fields of one line.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    buffer: &'a [u8],
    separator: u8,
    /// Index of the next field's first byte; more than `end` once the last field is out.
    start: usize,
    /// Index just after the line.
    end: usize,
    /// Index of the block that `found` describes.
    base: usize,
    /// Separators of the block that are not consumed yet: bit `i` stands for byte `base + i`.
    found: u64,
}

impl<'a> Fields<'a> {
    #[inline]
    fn new(buffer: &'a [u8], start: usize, end: usize, separator: u8) -> Self {
        assert!(start <= end && end <= buffer.len(), "a line lies inside its buffer");
        let mut fields = Self { buffer, separator, start, end, base: start, found: 0 };
        fields.found = fields.load();
        fields
    }

    /// The separators of the block at `base`, those beyond the line left out.
    #[inline]
    fn load(&self) -> u64 {
        let block = &self.buffer[self.base..];
        let found = match block.first_chunk::<BLOCK_BYTES>() {
            Some(block) => bitmap(block, self.separator),
            None => bitmap_of_tail(block, self.separator),
        };
        match self.end - self.base {
            left if left < BLOCK_BYTES => found & ((1 << left) - 1),
            _ => found,
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.start > self.end {
            return None;
        }
        while self.found == 0 {
            if self.end - self.base <= BLOCK_BYTES {
                let field = &self.buffer[self.start..self.end];
                self.start = self.end + 1;
                return Some(field);
            }
            self.base += BLOCK_BYTES;
            self.found = self.load();
        }
        let at = self.base + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        let field = &self.buffer[self.start..at];
        self.start = at + 1;
        Some(field)
    }
}

/// The bitmap of a block that the buffer's end cuts short.
#[cold]
fn bitmap_of_tail(tail: &[u8], separator: u8) -> u64 {
    let mut block = [!separator; BLOCK_BYTES];
    block[..tail.len()].copy_from_slice(tail);
    bitmap(&block, separator)
}

/// Bit `i` is set when byte `i` is the separator.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(
    unsafe_code,
    reason = "the compiler wants the instruction set vouched for, though every x86_64 has it"
)]
fn bitmap(block: &[u8; BLOCK_BYTES], separator: u8) -> u64 {
    // SAFETY: the function needs SSE2 and nothing else, and SSE2 belongs to the base instruction set of x86_64.
    unsafe { bitmap_sse2(block, separator) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn bitmap_sse2(block: &[u8; BLOCK_BYTES], separator: u8) -> u64 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};

    let wanted = _mm_set1_epi8(separator.cast_signed());
    let words = block.as_chunks::<8>().0;
    let mut found = 0;
    for (index, pair) in words.as_chunks::<2>().0.iter().enumerate() {
        // Two words joined compile to one 16-byte load; the load instruction proper would need a raw pointer.
        let bytes = _mm_set_epi64x(i64::from_le_bytes(pair[1]), i64::from_le_bytes(pair[0]));
        let equal = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted));
        found |= u64::from(equal.cast_unsigned()) << (16 * index);
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
use bitmap_portable as bitmap;

/// The same bitmap by plain arithmetic.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline]
fn bitmap_portable(block: &[u8; BLOCK_BYTES], separator: u8) -> u64 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Moves bit `8 * i` to bit `56 + i`, for each `i` below 8.
    const GATHER: u64 = 0x0102_0408_1020_4080;

    let wanted = u64::from_ne_bytes([separator; 8]);
    let mut found = 0;
    for (index, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let difference = u64::from_le_bytes(*word) ^ wanted;
        // The addition carries into a byte's top bit unless its low bits are all zero, and never into the next byte.
        let zero = !(((difference & LOW_BITS) + LOW_BITS) | difference | LOW_BITS);
        found |= ((zero >> 7).wrapping_mul(GATHER) >> 56) << (8 * index);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &[u8]) -> Vec<&[u8]> {
        fields(line, b'\t').collect()
    }

    fn lines(buffer: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(line) = line_at(buffer, at, true) {
            found.push(&buffer[line.start..line.end]);
            at = line.next;
        }
        found
    }

    #[test]
    fn an_empty_line_has_one_empty_field() {
        assert_eq!(split(b""), [b""]);
        assert_eq!(split(b"\t"), [b"", b""]);
        assert_eq!(split(b"a\t\tb"), [&b"a"[..], b"", b"b"]);
    }

    #[test]
    fn fields_end_at_block_edges() {
        for length in 0..200 {
            let mut line = vec![b'x'; length];
            line.push(b'\t');
            line.extend_from_slice(b"end");
            assert_eq!(split(&line), [&line[..length], b"end"], "separator at {length}");
            assert_eq!(split(&line[..length]), [&line[..length]], "no separator in {length}");
        }
    }

    #[test]
    fn a_line_ends_at_line_feed_or_with_a_return_before_it() {
        assert_eq!(lines(b"a\nb\r\n\r\n\nc"), [&b"a"[..], b"b", b"", b"", b"c"]);
        assert_eq!(lines(b"a\rb\r\r\n"), [b"a\rb\r"]);
        assert_eq!(lines(b"a\r"), [b"a"]);
        assert_eq!(lines(b""), [b""; 0]);
        assert_eq!(line_at(b"abc", 0, false), None);
    }

    proptest! {
        #[test]
        fn bitmaps_agree_with_a_byte_loop(block in proptest::collection::vec(any::<u8>(), 64), separator: u8) {
            let block: [u8; 64] = block.try_into().expect("64 bytes");
            let expected = (0..64).filter(|&i| block[i] == separator).fold(0_u64, |found, i| found | 1 << i);
            prop_assert_eq!(bitmap(&block, separator), expected);
            prop_assert_eq!(bitmap_portable(&block, separator), expected);
        }

        #[test]
        fn bitmaps_agree_when_separators_are_dense(bits: u64, near in 0_u8..4) {
            let block: [u8; 64] = std::array::from_fn(|i| if bits >> i & 1 == 1 { b'\t' } else { b'\t' ^ (1 << near) });
            prop_assert_eq!(bitmap(&block, b'\t'), bits);
            prop_assert_eq!(bitmap_portable(&block, b'\t'), bits);
        }

        #[test]
        fn fields_agree_with_slice_split(before in "[ab\t]{0,70}", line in "[ab\t]{0,300}", after in "[ab\t]{0,90}") {
            let buffer = format!("{before}{line}{after}");
            let place = Line { start: before.len(), end: before.len() + line.len(), next: 0 };
            let naive: Vec<&[u8]> = line.as_bytes().split(|&byte| byte == b'\t').collect();
            prop_assert_eq!(fields_of(buffer.as_bytes(), place, b'\t').collect::<Vec<_>>(), naive.clone());
            prop_assert_eq!(fields(line.as_bytes(), b'\t').collect::<Vec<_>>(), naive);
        }
    }
}
