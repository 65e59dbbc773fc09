//! What workers that were killed while they uploaded left in the store: files that never got their name.
//!
//! An upload is written beside its place as `DIGEST#NUMBER` and renamed when it is whole. Nobody reads such a file but the upload that writes it, and
//! that one changes it until the end. So one that nothing has changed for longer than any upload pauses belongs to nobody. Files of any other name are
//! not ours to remove.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Longer than any upload goes without writing.
pub(super) const UNTOUCHED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub files: u64,
    pub size_bytes: u64,
}

/// Removes the half-written uploads in the store at `folder` that were changed last more than [`UNTOUCHED_FOR`] before `now`.
pub(super) fn remove(folder: &Path, now: SystemTime) -> io::Result<Removed> {
    let mut removed = Removed::default();
    for group in entries(&folder.join("sha256"))? {
        if !group.file_type()?.is_dir() {
            continue;
        }
        for entry in entries(&group.path())? {
            if !entry.file_name().to_str().is_some_and(is_half_written) {
                continue;
            }
            if let Some(size_bytes) = remove_untouched(&entry, now)? {
                removed.files += 1;
                removed.size_bytes += size_bytes;
            }
        }
    }
    Ok(removed)
}

fn remove_untouched(entry: &fs::DirEntry, now: SystemTime) -> io::Result<Option<u64>> {
    // Other workers look too, and an upload may end meanwhile.
    let Some(found) = unless_gone(entry.metadata())? else { return Ok(None) };
    // A file from the future was not untouched for any time.
    let untouched = now.duration_since(found.modified()?).unwrap_or_default();
    if !found.is_file() || untouched <= UNTOUCHED_FOR {
        return Ok(None);
    }
    Ok(unless_gone(fs::remove_file(entry.path()))?.map(|()| found.len()))
}

/// Whether this is how an upload is called before it is whole.
fn is_half_written(name: &str) -> bool {
    name.split_once('#').is_some_and(|(digest, number)| {
        let hexadecimal = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        let decimal = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
        digest.len() == 64 && digest.bytes().all(hexadecimal) && decimal
    })
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    unless_gone(fs::read_dir(folder))?.map_or_else(|| Ok(Vec::new()), Iterator::collect)
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = UNTOUCHED_FOR;

    /// A store with these files in one group, and the moment they were written.
    fn store(names: &[&str]) -> (tempfile::TempDir, SystemTime) {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("sha256/aa");
        fs::create_dir_all(&group).unwrap();
        let mut latest = SystemTime::UNIX_EPOCH;
        for name in names {
            fs::write(group.join(name), b"half").unwrap();
            latest = latest.max(fs::metadata(group.join(name)).unwrap().modified().unwrap());
        }
        (folder, latest)
    }

    fn left(folder: &tempfile::TempDir) -> usize {
        fs::read_dir(folder.path().join("sha256/aa")).unwrap().count()
    }

    #[test]
    fn a_half_written_upload_goes_after_a_day_and_not_before() {
        let name = format!("{}#1", "a".repeat(64));
        let (folder, written) = store(&[&name]);
        assert_eq!(remove(folder.path(), written + DAY).unwrap(), Removed::default());
        let second = Duration::from_secs(1);
        assert_eq!(remove(folder.path(), written - second).unwrap(), Removed::default());
        assert_eq!(left(&folder), 1);
        assert_eq!(remove(folder.path(), written + DAY + second).unwrap(), Removed { files: 1, size_bytes: 4 });
        assert_eq!(left(&folder), 0);
    }

    #[test]
    fn artifacts_and_files_of_other_names_stay_however_old_they_are() {
        let digest = "a".repeat(64);
        let names = [
            digest.clone(),
            format!("{digest}#"),
            format!("{digest}#x"),
            "notes#1".to_owned(),
            digest.to_uppercase() + "#1",
        ];
        let (folder, written) = store(&names.each_ref().map(String::as_str));
        assert_eq!(remove(folder.path(), written + 400 * DAY).unwrap(), Removed::default());
        assert_eq!(left(&folder), names.len());
    }

    #[test]
    fn an_empty_store_has_no_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remove(folder.path(), SystemTime::now() + 2 * DAY).unwrap(), Removed::default());
    }
}
