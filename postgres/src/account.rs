//! As whom the server runs: as ourselves, or, since Postgres refuses root, as an unprivileged user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User};

use crate::Error;

const CANDIDATES: [&str; 3] = ["gauntlet", "postgres", "nobody"];

/// The user that runs the server, and whether that takes a change of user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) differs_from_ours: bool,
}

impl Account {
    /// `owner` is the owner of the data, if there is any yet: the server must own it.
    pub(crate) fn choose(owner: Option<Uid>, data_dir: &Path) -> Result<Self, Error> {
        let ours = Uid::effective();
        if ours.is_root() {
            return Account::for_root(owner, data_dir);
        }
        match owner {
            Some(owner) if owner != ours => Err(Error::unusable(
                data_dir,
                format!("it belongs to {}; start this as that user, or use another state directory", name_of(owner)),
            )),
            _ => Ok(Account { uid: ours, gid: Gid::effective(), differs_from_ours: false }),
        }
    }

    fn for_root(owner: Option<Uid>, data_dir: &Path) -> Result<Self, Error> {
        let user = match owner {
            Some(owner) if owner.is_root() => {
                return Err(Error::unusable(
                    data_dir,
                    "it belongs to root, as whom Postgres refuses to run; give it to the user that shall run the server \
                     (`chown -R postgres`)",
                ));
            }
            Some(owner) => User::from_uid(owner).ok().flatten(),
            None => CANDIDATES.iter().find_map(|name| User::from_name(name).ok().flatten()),
        };
        let user = user.ok_or_else(|| Error::NoAccount { candidates: CANDIDATES.map(String::from).to_vec() })?;
        Ok(Account { uid: user.uid, gid: user.gid, differs_from_ours: true })
    }

    /// Whether this user can enter `path` and every directory above it.
    pub(crate) fn can_reach(&self, path: &Path) -> bool {
        if !self.differs_from_ours {
            return true;
        }
        let Ok(path) = path.canonicalize() else { return false };
        path.ancestors().all(|ancestor| fs::metadata(ancestor).is_ok_and(|found| self.may_enter(&found)))
    }

    fn may_enter(&self, found: &fs::Metadata) -> bool {
        let needed = match () {
            () if found.uid() == self.uid.as_raw() => 0o100,
            () if found.gid() == self.gid.as_raw() => 0o010,
            () => 0o001,
        };
        !found.is_dir() || found.mode() & needed != 0
    }

    /// Gives a file or directory (not what is in it) to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        if !self.differs_from_ours {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(Error::io("change the owner of", path))
    }
}

fn name_of(uid: Uid) -> String {
    match User::from_uid(uid) {
        Ok(Some(user)) => format!("the user {}", user.name),
        _ => format!("the user with the id {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn account(uid: u32, differs_from_ours: bool) -> Account {
        Account { uid: Uid::from_raw(uid), gid: Gid::from_raw(uid), differs_from_ours }
    }

    #[test]
    fn root_runs_the_server_as_somebody_else_and_others_as_themselves() {
        let chosen = Account::choose(None, Path::new("/nowhere")).expect("an account");
        assert!(!chosen.uid.is_root());
        assert_eq!(chosen.differs_from_ours, Uid::effective().is_root());
    }

    #[test]
    fn data_of_root_is_refused_with_advice() {
        let refusal = Account::choose(Some(Uid::from_raw(0)), Path::new("/data")).expect_err("a refusal").to_string();
        assert!(refusal.starts_with("/data cannot be used: it belongs to"), "{refusal}");
    }

    #[test]
    fn a_directory_below_a_closed_one_is_out_of_reach_for_another_user() {
        let closed = tempfile::tempdir().expect("a directory");
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
        let inner = closed.path().join("inner");
        fs::create_dir(&inner).expect("a directory");
        assert!(!account(4_000_000_000, true).can_reach(&inner));
        assert!(account(Uid::effective().as_raw(), false).can_reach(&inner));
    }
}
