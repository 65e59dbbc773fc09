//! CIFAR's binary files, and EMNIST's turned images.

use gauntlet_data::load;
use gauntlet_domain::experiment::{CifarVariant, DatasetSource, Fit, IdxVariant};
use gauntlet_domain::sweep::{FileContent, FileRole};

use crate::support::{Folder, idx, inspected, message, places, spec};

/// A record: labels, then 3072 values that count up from the first.
fn record(labels: &[u8], first: u8) -> Vec<u8> {
    labels.iter().copied().chain((0..3072_u32).map(|index| first.wrapping_add(index as u8))).collect()
}

#[test]
fn records_of_several_files_follow_each_other() {
    let folder = Folder::new();
    let one = folder.file("1", &[record(&[3], 10), record(&[9], 20)].concat());
    let two = folder.file("2", &record(&[0], 30));
    let (places, files) = places(&[&one, &two]);
    let source = DatasetSource::Cifar { files, variant: CifarVariant::Cifar10 };
    let images = load(&spec(source.clone(), 3, 10, [3, 32, 32], Fit::Resize), &places).unwrap();
    assert_eq!(images.labels, [3, 9, 0]);
    assert_eq!([0, 3072, 6144].map(|at| images.pixels[at]), [10, 20, 30]);
    assert_eq!(load(&spec(source.clone(), 1, 10, [3, 32, 32], Fit::Resize), &places).unwrap().labels, [3]);
    assert_eq!(
        message(load(&spec(source, 4, 10, [3, 32, 32], Fit::Resize), &places)),
        "`2`: holds 3 examples, and 4 are wanted"
    );
}

#[test]
fn of_two_labels_the_fine_one_is_the_class() {
    let file = [record(&[1, 99], 0), record(&[19, 4], 0)].concat();
    let role = FileRole::Cifar(CifarVariant::Cifar100);
    let per_class = (0..100).map(|class| u32::from([4, 99].contains(&class))).collect();
    let expected = FileContent::Cifar { examples: 2, variant: CifarVariant::Cifar100, per_class };
    assert_eq!(inspected(role, &file).unwrap(), expected);
    let folder = Folder::new();
    let (places, files) = places(&[&folder.file("train.bin", &file)]);
    let source = DatasetSource::Cifar { files, variant: CifarVariant::Cifar100 };
    assert_eq!(load(&spec(source, 2, 100, [3, 32, 32], Fit::Resize), &places).unwrap().labels, [99, 4]);
}

#[test]
fn what_is_not_in_cifars_format_is_said() {
    let role = FileRole::Cifar(CifarVariant::Cifar10);
    let record_of = |label| record(&[label], 0);
    assert_eq!(
        message(inspected(role, &record_of(3)[1..])),
        "`file` holds 3072 bytes, which is no whole number of records of 3073 bytes"
    );
    assert_eq!(
        message(inspected(role, b"")),
        "`file` holds 0 bytes, which is no whole number of records of 3073 bytes"
    );
    let wrong = [record_of(3), record_of(10)].concat();
    assert_eq!(message(inspected(role, &wrong)), "`file` label 10 at index 1: expected 0 to 9");
}

#[test]
fn emnists_images_are_turned_upright_and_its_letters_start_at_class_0() {
    let folder = Folder::new();
    let images = folder.file("images", &idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
    let labels = folder.file("labels", &idx(&[2], &[1, 26]));
    let (places, digests) = places(&[&images, &labels]);
    let read = |variant, classes| {
        let source = DatasetSource::Idx { images: digests[0], labels: digests[1], variant };
        load(&spec(source, 2, classes, [1, 3, 2], Fit::Resize), &places)
    };
    let letters = read(IdxVariant::EmnistLetters, 26).unwrap();
    assert_eq!(letters.labels, [0, 25]);
    assert_eq!(letters.pixels, [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
    assert_eq!(read(IdxVariant::Emnist, 27).unwrap().labels, [1, 26]);
    assert_eq!(
        message(read(IdxVariant::EmnistLetters, 25)),
        "`labels`: label 25 at index 1, with 25 classes: expected 0 to 24"
    );
}

#[test]
fn a_letter_before_the_first_is_refused() {
    let folder = Folder::new();
    let images = folder.file("images", &idx(&[1, 1, 1], &[1]));
    let (places, digests) = places(&[&images, &folder.file("labels", &idx(&[1], &[0]))]);
    let source = DatasetSource::Idx { images: digests[0], labels: digests[1], variant: IdxVariant::EmnistLetters };
    assert_eq!(
        message(load(&spec(source, 1, 26, [1, 1, 1], Fit::Resize), &places)),
        "`labels`: label 0 at index 0: labels start at 1"
    );
}
