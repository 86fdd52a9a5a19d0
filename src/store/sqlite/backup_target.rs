//! The files that a backup must not replace: databases, and the files that belong to them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::backup_seal::BackupSeal;
use super::partial_copy::write_failed;
use super::read_only::{COMPANIONS, check_is_regular};
use crate::store::{BackupError, CopyError};

/// Checks that the path is free, or names a regular file that no database needs.
pub(super) fn check(target: &Path) -> Result<(), BackupError> {
    if let Some(database) = database_of(target) {
        return Err(BackupError::BelongsToDatabase { target: target.to_owned(), database });
    }
    let Ok(metadata) = fs::metadata(target) else { return Ok(()) };
    check_is_regular(target, &metadata).map_err(CopyError::from)?;
    let is_database = File::open(target).and_then(|mut file| BackupSeal::is_missing(&mut file));
    if is_database.map_err(|error| write_failed(target, error))? {
        return Err(BackupError::IsAnotherDatabase(target.to_owned()));
    }
    Ok(())
}

/// The database that the path belongs to by its name, such as `portbook.db` for `portbook.db-wal`.
fn database_of(path: &Path) -> Option<PathBuf> {
    [path.to_owned(), resolved(path)].iter().find_map(|path| {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let databases = COMPANIONS.iter().filter_map(|suffix| name.strip_suffix(suffix));
        databases.map(|name| folder.join(name)).find(|database| database.is_file())
    })
}

/// The path without links, also if its last component does not exist.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => {
            folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(name)
        }
        _ => path.to_owned(),
    })
}
