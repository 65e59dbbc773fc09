//! The files below a folder of classes.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use super::FolderProblem;
use crate::error::{DataError, InFile};
use crate::picture::{ImageProblem, is_image_name};

/// An image file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Relative to the folder, with `/` between its parts.
    pub(super) path: String,
    /// Number of its class.
    pub(super) class: u32,
}

/// The classes of a folder and its files, both sorted by their bytes.
pub(super) fn list(root: &Path) -> Result<(Vec<String>, Vec<Found>), DataError> {
    if !fs::metadata(root).in_file(root)?.is_dir() {
        return Err(FolderProblem::NotAFolder).in_file(root);
    }
    let canonical = fs::canonicalize(root).in_file(root)?;
    let mut classes = Vec::new();
    for (name, entry) in children(root)? {
        let path = entry.path();
        let kind = entry.file_type().in_file(&path)?;
        if kind.is_symlink() && fs::metadata(&path).is_ok_and(|target| target.is_dir()) {
            return Err(FolderProblem::LinkToFolder).in_file(&path);
        }
        if !kind.is_dir() {
            return Err(FolderProblem::BesideClasses).in_file(&path);
        }
        classes.push(name);
    }
    if classes.is_empty() {
        return Err(FolderProblem::NoClasses).in_file(root);
    }
    let mut files = Vec::new();
    for (class, name) in classes.iter().enumerate() {
        let before = files.len();
        walk(root, &canonical, name, class as u32, &mut files)?;
        if files.len() == before {
            return Err(FolderProblem::EmptyClass).in_file(&root.join(name));
        }
    }
    if u32::try_from(files.len()).is_err() {
        return Err(FolderProblem::TooMany).in_file(root);
    }
    files.sort_by(|one: &Found, other| one.path.cmp(&other.path));
    Ok((classes, files))
}

/// Everything below the folder of a class.
fn walk(root: &Path, canonical: &Path, name: &str, class: u32, files: &mut Vec<Found>) -> Result<(), DataError> {
    let mut folders = vec![name.to_owned()];
    while let Some(folder) = folders.pop() {
        for (name, entry) in children(&root.join(&folder))? {
            let path = entry.path();
            let relative = format!("{folder}/{name}");
            let kind = entry.file_type().in_file(&path)?;
            if kind.is_dir() {
                folders.push(relative);
                continue;
            }
            if kind.is_symlink() {
                check_link(root, canonical, &path)?;
            }
            if !is_image_name(&name) {
                return Err(ImageProblem::Extension).in_file(&path);
            }
            files.push(Found { path: relative, class });
        }
    }
    Ok(())
}

/// A link leads to a file inside the folder.
fn check_link(root: &Path, canonical: &Path, path: &Path) -> Result<(), DataError> {
    let target: PathBuf = fs::canonicalize(path).in_file(path)?;
    if target.is_dir() {
        return Err(FolderProblem::LinkToFolder).in_file(path);
    }
    if !target.starts_with(canonical) {
        return Err(FolderProblem::LeadsOut { root: root.to_owned() }).in_file(path);
    }
    Ok(())
}

/// What a folder holds, by name; hidden things are passed over.
fn children(folder: &Path) -> Result<Vec<(String, DirEntry)>, DataError> {
    let mut children = Vec::new();
    for entry in fs::read_dir(folder).in_file(folder)? {
        let entry = entry.in_file(folder)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.contains(char::is_control)) else {
            return Err(FolderProblem::Name).in_file(&entry.path());
        };
        if !name.starts_with('.') {
            children.push((name.to_owned(), entry));
        }
    }
    children.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(children)
}
