//! Artifacts on their way out of the store, and reports that name them all the same.

use crate::task::Timestamp;

/// Where an artifact stands that nothing referred to any more. Of one that is kept nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It is to be deleted, and nobody was told yet.
    Condemned,
    /// A worker was told to delete it: it may be there or not.
    Deleting,
    /// It was gone at that moment. It may have been uploaded again since.
    Deleted(Timestamp),
}

/// What becomes of a report that names an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The artifact is there, and stays.
    Kept,
    /// The artifact may be gone: it has to be uploaded after this moment, or, where there is none, once the deletion is over.
    UploadAgain(Option<Timestamp>),
}

/// Whether an artifact may be named by a worker that looked whether it is there, and uploaded it if not, after the moment `since`.
pub fn naming(departure: Option<Departure>, since: Timestamp) -> Naming {
    match departure {
        None | Some(Departure::Condemned) => Naming::Kept,
        Some(Departure::Deleting) => Naming::UploadAgain(None),
        Some(Departure::Deleted(at)) if since >= at => Naming::Kept,
        Some(Departure::Deleted(at)) => Naming::UploadAgain(Some(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_or_only_condemned_may_be_named() {
        assert_eq!(naming(None, Timestamp(0)), Naming::Kept);
        assert_eq!(naming(Some(Departure::Condemned), Timestamp(0)), Naming::Kept);
    }

    #[test]
    fn what_is_being_deleted_may_be_named_by_nobody_and_what_was_deleted_by_who_uploaded_it_since() {
        assert_eq!(naming(Some(Departure::Deleting), Timestamp(i64::MAX)), Naming::UploadAgain(None));
        let deleted = Some(Departure::Deleted(Timestamp(7)));
        assert_eq!(naming(deleted, Timestamp(6)), Naming::UploadAgain(Some(Timestamp(7))));
        assert_eq!(naming(deleted, Timestamp(7)), Naming::Kept);
    }
}
