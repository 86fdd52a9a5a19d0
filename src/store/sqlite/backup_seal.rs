//! The seal of a backup: a trailer after the pages of the file that detects any changed byte.
//!
//! It consists of a magic string and the SHA-256 of everything before it, as in etcd's snapshots.
//! SQLite reads only the number of pages given in its header, so it opens a sealed file like any other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

/// The first bytes of a seal.
const MAGIC: &[u8; 16] = b"portbook-backup\n";
/// The length of a seal. It is less than the smallest page, so a sealed file never has a length that is
/// a multiple of the page size.
const LENGTH: u64 = 16 + 32;

/// The result of reading the seal of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackupSeal {
    /// The file has no seal: a database that a server writes.
    Absent,
    /// The checksum matches.
    Valid,
    /// The checksum does not match.
    Mismatch,
    /// The file ends in something else: it was truncated, or its seal was changed.
    Malformed,
}

impl BackupSeal {
    /// Whether the file was written as a backup, which must not change.
    pub(super) const fn is_of_backup(self) -> bool {
        matches!(self, Self::Valid | Self::Mismatch)
    }

    /// Reads the complete file and checks its seal.
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        if let Some((content_length, expected)) = trailer(file)? {
            file.rewind()?;
            let actual = checksum(&mut file.take(content_length))?;
            return Ok(if actual == expected { Self::Valid } else { Self::Mismatch });
        }
        file.rewind()?;
        Ok(match page_size(file)? {
            Some(page_size) if !length.is_multiple_of(page_size) => Self::Malformed,
            _ => Self::Absent,
        })
    }

    /// Whether the file is a database without a seal: not a backup, nor a part of one.
    pub(super) fn is_missing(file: &mut File) -> io::Result<bool> {
        if trailer(file)?.is_some() {
            return Ok(false);
        }
        let length = file.metadata()?.len();
        file.rewind()?;
        Ok(page_size(file)?.is_some_and(|page_size| length.is_multiple_of(page_size)))
    }

    /// Appends a seal to a file that has none.
    pub(super) fn append(file: &mut File) -> io::Result<()> {
        file.rewind()?;
        let checksum = checksum(file)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(MAGIC)?;
        file.write_all(&checksum)
    }

    /// Removes the seal of a file that is about to change, if it has one. The change is on the disk
    /// when this returns.
    pub(super) fn remove(file: &mut File) -> io::Result<()> {
        let Some((content_length, _)) = trailer(file)? else { return Ok(()) };
        file.set_len(content_length)?;
        file.sync_all()
    }
}

/// The length of the content before the seal and the checksum in the seal, if there is a seal.
fn trailer(file: &mut File) -> io::Result<Option<(u64, [u8; 32])>> {
    let Some(content_length) = file.metadata()?.len().checked_sub(LENGTH) else { return Ok(None) };
    let (mut magic, mut checksum) = ([0; MAGIC.len()], [0; 32]);
    file.seek(SeekFrom::Start(content_length))?;
    file.read_exact(&mut magic)?;
    file.read_exact(&mut checksum)?;
    Ok((magic == *MAGIC).then_some((content_length, checksum)))
}

fn checksum(bytes: &mut impl Read) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match bytes.read(&mut block) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(length) => hasher.update(&block[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The page size in the header of a SQLite file, `None` for any other file.
fn page_size(file: &mut File) -> io::Result<Option<u64>> {
    let mut header = Vec::new();
    file.take(18).read_to_end(&mut header)?;
    let Some(&[high, low]) = header.strip_prefix(b"SQLite format 3\0") else { return Ok(None) };
    // 65536 does not fit and is stored as 1.
    Ok(match u16::from_be_bytes([high, low]) {
        1 => Some(1 << 16),
        size if size >= 512 && size.is_power_of_two() => Some(size.into()),
        _ => None,
    })
}
