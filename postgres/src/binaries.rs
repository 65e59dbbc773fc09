//! Finds the server's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Error;

const OLDEST: u32 = 15;
const OVERRIDE: &str = "GAUNTLET_POSTGRES_BIN";

/// A directory with `postgres` and `initdb` of a supported version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    /// As the server tells it, such as `18.6`.
    pub(crate) version: String,
    pub(crate) major: u32,
}

impl Binaries {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The best server for this data; the newest matters less than the one that made the data.
pub(crate) fn find(data_dir: &Path) -> Result<Binaries, Error> {
    let mut looked_at = Vec::new();
    let mut found = Vec::new();
    for dir in candidates() {
        // Resolved, because the programs look for their libraries relative to where they really are.
        let dir = dir.canonicalize().unwrap_or(dir);
        let shown = dir.display().to_string();
        if !looked_at.contains(&shown) {
            looked_at.push(shown);
            found.extend(inspect(&dir));
        }
    }
    if found.is_empty() {
        return Err(Error::NotFound { oldest: OLDEST, looked_at });
    }
    let Ok(made_by) = fs::read_to_string(data_dir.join("PG_VERSION")) else { return Ok(found.swap_remove(0)) };
    let made_by = made_by.trim();
    match found.iter().position(|binaries| binaries.major.to_string() == made_by) {
        Some(index) => Ok(found.swap_remove(index)),
        None => Err(Error::OtherVersion {
            data_dir: data_dir.to_path_buf(),
            found: made_by.to_owned(),
            installed: found.iter().map(|binaries| binaries.version.clone()).collect(),
        }),
    }
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = env::var_os(OVERRIDE).filter(|named| !named.is_empty()) {
        return vec![PathBuf::from(named)];
    }
    let mut dirs = brought_by_setup();
    dirs.extend(told_by_pg_config());
    dirs.extend(installed_by_debian());
    dirs
}

/// `.deps/postgres` in the working directory, above this executable (it lies in `target/…` of the workspace), and above
/// the crate that cargo is testing. Not above any working directory: that could be anybody's.
fn brought_by_setup() -> Vec<PathBuf> {
    let above = |start: Option<PathBuf>, levels: usize| -> Vec<PathBuf> {
        start.iter().flat_map(|path| path.ancestors().take(levels)).map(Path::to_path_buf).collect()
    };
    let mut roots = above(env::current_dir().ok(), 1);
    roots.extend(above(env::current_exe().ok(), 5));
    roots.extend(above(env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), 3));
    let dirs = roots.into_iter().map(|root| root.join(".deps/postgres/bin"));
    dirs.filter(|dir| dir.is_dir()).collect()
}

fn told_by_pg_config() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let dir = String::from_utf8(told.stdout).ok()?;
    (told.status.success() && !dir.trim().is_empty()).then(|| PathBuf::from(dir.trim()))
}

fn installed_by_debian() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut majors: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|major| *major >= OLDEST)
        .collect();
    majors.sort_unstable_by(|left, right| right.cmp(left));
    majors.iter().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))).collect()
}

fn inspect(dir: &Path) -> Option<Binaries> {
    if !dir.join("initdb").is_file() {
        return None;
    }
    let told = Command::new(dir.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
    let version = parse_version(&String::from_utf8_lossy(&told.stdout))?;
    let major: u32 = version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()?;
    let dir = dir.to_path_buf();
    (major >= OLDEST).then_some(Binaries { dir, version, major })
}

fn parse_version(told: &str) -> Option<String> {
    let version = told.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    Some(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_a_packager_s_addition() {
        assert_eq!(parse_version("postgres (PostgreSQL) 18.6\n").as_deref(), Some("18.6"));
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").as_deref(), Some("15.18"));
        assert_eq!(parse_version("not a server"), None);
    }

    #[test]
    fn data_of_a_version_that_is_not_installed_is_refused() {
        let data = tempfile::tempdir().expect("a directory");
        fs::write(data.path().join("PG_VERSION"), "9\n").expect("a file");
        let refusal = find(data.path()).expect_err("a refusal").to_string();
        assert!(refusal.contains("was made by Postgres 9, and only "), "{refusal}");
    }
}
