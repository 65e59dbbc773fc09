//! Files by path and by digest.

use std::path::Path;

use gauntlet_data::{Places, digest_file, inspect, load, read_verified_checkpoint};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{CheckpointFormat, DatasetSource, Fit, IdxVariant};
use gauntlet_domain::sweep::FileRole;

use crate::support::{Folder, idx, message, places, reference, spec};

#[test]
fn a_digest_is_that_of_the_whole_file() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    let folder = Folder::new();
    let path = folder.file("file", &bytes);
    assert_eq!(digest_file(&path).unwrap(), Digest::of(&bytes));
    let labels = idx(&[1], &[0]);
    assert_eq!(inspect(FileRole::IdxLabels, &folder.file("labels", &labels)).unwrap().digest, Digest::of(&labels));
}

#[test]
fn what_is_no_readable_file_is_named() {
    let folder = Folder::new();
    assert_eq!(message(digest_file(&folder.path("absent"))), "`absent` does not exist");
    assert_eq!(message(inspect(FileRole::IdxImages, &folder.path("absent"))), "`absent` does not exist");
    std::fs::create_dir(folder.path("directory")).unwrap();
    assert_eq!(message(inspect(FileRole::IdxImages, &folder.path("directory"))), "`directory` is not a file");
    assert_eq!(message(digest_file(Path::new("/dev/zero"))), "`zero` is not a file");
}

#[test]
fn a_file_that_changed_since_the_plan_is_refused() {
    let folder = Folder::new();
    let path = folder.file("images", &idx(&[1, 1, 1], &[0]));
    let (places, digests) = places(&[&path]);
    std::fs::write(&path, idx(&[1, 1, 1], &[1])).unwrap();
    let source = DatasetSource::Idx { images: digests[0], labels: digests[0], variant: IdxVariant::Mnist };
    let found = digest_file(&path).unwrap();
    assert_eq!(
        message(load(&spec(source, 1, 1, [1, 1, 1], Fit::Pad), &places)),
        format!("`images` is not the file that was planned with: its SHA-256 is {found}, expected {}", digests[0])
    );
}

#[test]
fn a_checkpoint_is_read_only_from_the_bytes_that_have_its_digest() {
    let path = reference("module.pth");
    let digest = digest_file(&path).unwrap();
    assert!(read_verified_checkpoint(&path, CheckpointFormat::Pytorch, &digest).is_ok());
    let other = Digest::of(b"other");
    assert_eq!(
        message(read_verified_checkpoint(&path, CheckpointFormat::Pytorch, &other)),
        format!("`module.pth` is not the file that was planned with: its SHA-256 is {digest}, expected {other}")
    );
}

#[test]
fn a_file_that_nobody_brought_is_named_by_its_digest() {
    let digest = Digest::of(b"");
    let source = DatasetSource::SafeTensors { file: digest };
    assert_eq!(
        message(load(&spec(source, 1, 1, [1, 1, 1], Fit::Pad), &Places::default())),
        format!("no file with SHA-256 {digest} is at hand")
    );
}
