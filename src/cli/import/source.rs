//! Reads the file up to the maximum size, and decodes its text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::cli::Error;

/// Much larger than a file with the maximum number of registrations.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why the file cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TextError {
    #[error("the file is larger than 64 MiB: split it")]
    TooLarge,
    #[error("the file is UTF-16: save it as UTF-8")]
    Utf16,
    #[error("the file is not text: zero byte on line {0}")]
    Binary(usize),
    #[error("line {0} is not UTF-8: save the file as UTF-8")]
    NotUtf8(usize),
}

/// Reads the file, or stdin for `-`.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        let stdin = io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes);
        stdin.map_err(Error::Input)?;
    } else {
        let file =
            File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        file.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    }
    Ok(bytes)
}

/// Decodes the text, removes the byte order mark and converts line endings to `\n`.
pub(super) fn text(bytes: &[u8]) -> Result<String, TextError> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(TextError::TooLarge);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(TextError::Utf16);
    }
    let line_of = |end: usize| 1 + memchr::memchr_iter(b'\n', &bytes[..end]).count();
    if let Some(zero) = memchr::memchr(0, bytes) {
        return Err(TextError::Binary(line_of(zero)));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| TextError::NotUtf8(line_of(error.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_and_carriage_returns_are_removed() {
        assert_eq!(text(b"\xef\xbb\xbfa\r\nb\rc\n").unwrap(), "a\nb\nc\n");
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn files_that_are_not_utf_8_are_rejected() {
        assert_eq!(text(b"\xff\xfea\0"), Err(TextError::Utf16));
        assert_eq!(text(b"PK\x03\x04\n\n\0"), Err(TextError::Binary(3)));
        assert_eq!(text(b"Port,Service\n9100,Z\xfcrich\n"), Err(TextError::NotUtf8(2)));
    }
}
