//! Lines and fields are where a search byte by byte finds them.
#![no_main]

use aerostore_core::row::tsv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&separator, buffer)) = data.split_first() else { return };
    if matches!(separator, b'\n' | b'\r' | 0) {
        return;
    }
    let mut expected_lines: Vec<&[u8]> = buffer.split(|&byte| byte == b'\n').collect();
    if expected_lines.last().is_some_and(|last| last.is_empty()) {
        expected_lines.pop();
    }
    let mut start = 0;
    let mut lines = expected_lines.into_iter();
    while let Some(line) = tsv::line_at(buffer, start, true) {
        let expected = lines.next().expect("no line more than there are");
        let expected = expected.strip_suffix(b"\r").unwrap_or(expected);
        assert_eq!(&buffer[line.start..line.end], expected);
        let wanted: Vec<&[u8]> = expected.split(|&byte| byte == separator).collect();
        assert_eq!(tsv::fields_of(buffer, line, separator).collect::<Vec<_>>(), wanted);
        assert_eq!(tsv::fields(expected, separator).collect::<Vec<_>>(), wanted);
        assert!(line.next > start);
        start = line.next;
    }
    assert_eq!(lines.next(), None);
});
