//! Files that are there after a crash, or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file whole or not at all. It is certain to outlive a crash of the machine once [`sync_folder`] has seen its folder.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = partial(path);
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

/// Makes what was created, renamed and deleted in a folder certain.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Name of a file that is still being written.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL_SUFFIX);
    name.into()
}

pub(crate) const PARTIAL_SUFFIX: &str = ".partial";

/// Deletes files that a crash left half-written.
pub(crate) fn remove_partial_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(PARTIAL_SUFFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
