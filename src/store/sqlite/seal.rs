//! The seal of a backup: what stands behind the pages of the file, so that any byte that changes is
//! found.
//!
//! A word that tells it is there, and the SHA-256 of all that precedes it, as etcd's snapshots have
//! it. SQLite reads a file up to the number of pages that its header tells, so it opens a sealed one
//! like any other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

/// Tells a seal.
const WORD: &[u8; 16] = b"portbook-backup\n";
/// How long a seal is. Pages are longer, and no number of them is a seal longer than another.
const LENGTH: u64 = 16 + 32;

/// What stands behind the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// Nothing: a database as a server leaves it.
    None,
    /// A seal, and all that precedes it is as it was.
    Whole,
    /// A seal, and something that precedes it is not as it was.
    Broken,
    /// Something else: the file was cut short, or its seal was changed.
    Strange,
}

impl Seal {
    /// Whether the file was written as a backup, and is not meant to change.
    pub(super) const fn is_of_backup(self) -> bool {
        matches!(self, Self::Whole | Self::Broken)
    }

    /// Reads the file from its beginning and says what stands at its end.
    pub(super) fn of(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        if let Some((sealed, told)) = end_of(file)? {
            file.rewind()?;
            let sum = sum(&mut file.take(sealed))?;
            return Ok(if sum == told { Self::Whole } else { Self::Broken });
        }
        file.rewind()?;
        Ok(match page_size(file)? {
            Some(page_size) if !length.is_multiple_of(page_size) => Self::Strange,
            _ => Self::None,
        })
    }

    /// Seals a file that has no seal.
    pub(super) fn put_on(file: &mut File) -> io::Result<()> {
        file.rewind()?;
        let sum = sum(file)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(WORD)?;
        file.write_all(&sum)
    }

    /// Takes the seal off a file that is about to change, if it has one. On the disk when this
    /// returns.
    pub(super) fn take_off(file: &mut File) -> io::Result<()> {
        let Some((sealed, _)) = end_of(file)? else { return Ok(()) };
        file.set_len(sealed)?;
        file.sync_all()
    }
}

/// How long what precedes the seal is, and its checksum as the seal tells it, if there is a seal.
fn end_of(file: &mut File) -> io::Result<Option<(u64, [u8; 32])>> {
    let Some(sealed) = file.metadata()?.len().checked_sub(LENGTH) else { return Ok(None) };
    let (mut word, mut sum) = ([0; WORD.len()], [0; 32]);
    file.seek(SeekFrom::Start(sealed))?;
    file.read_exact(&mut word)?;
    file.read_exact(&mut sum)?;
    Ok((word == *WORD).then_some((sealed, sum)))
}

fn sum(bytes: &mut impl Read) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match bytes.read(&mut block) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(length) => hasher.update(&block[..length]),
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// The size of the pages of a SQLite file, which its header tells; nothing for any other file.
fn page_size(file: &mut File) -> io::Result<Option<u64>> {
    let mut header = Vec::new();
    file.take(18).read_to_end(&mut header)?;
    let Some(&[high, low]) = header.strip_prefix(b"SQLite format 3\0") else { return Ok(None) };
    // 65536 does not fit, and is written as 1.
    Ok(match u16::from_be_bytes([high, low]) {
        1 => Some(1 << 16),
        size if size >= 512 && size.is_power_of_two() => Some(size.into()),
        _ => None,
    })
}
