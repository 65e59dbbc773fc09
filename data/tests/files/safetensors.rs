//! Safetensors files: data sets and weights.

use gauntlet_data::{load, read_checkpoint};
use gauntlet_domain::experiment::{CheckpointFormat, DatasetSource, Fit};
use gauntlet_domain::sweep::{FileContent, FileRole};
use proptest::prelude::*;

use crate::support::{Folder, inspected, message, places, reference, safetensors, spec};

const WEIGHTS: FileRole = FileRole::Checkpoint(CheckpointFormat::SafeTensors);
const DATASET: FileRole = FileRole::SafeTensorsDataset;

/// A data set of two RGB images of 1×2, with these labels and with anything replaced in the header.
fn dataset(labels: [i64; 2], replace: &[(&str, &str)]) -> Vec<u8> {
    let header = r#"{"__metadata__":{"made":"by hand"},"images":{"dtype":"U8","shape":[2,3,1,2],"data_offsets":[0,12]},"labels":{"dtype":"I64","shape":[2],"data_offsets":[12,28]}}"#;
    let header = replace.iter().fold(header.to_owned(), |header, (from, to)| {
        assert!(header.contains(from), "{from}");
        header.replace(from, to)
    });
    let data: Vec<u8> = (0..12).chain(labels.iter().flat_map(|label| label.to_le_bytes())).collect();
    safetensors(&header, &data)
}

fn refused(labels: [i64; 2], replace: &[(&str, &str)]) -> String {
    message(inspected(DATASET, &dataset(labels, replace)))
}

fn weights(header: &str, data: &[u8]) -> String {
    message(inspected(WEIGHTS, &safetensors(header, data)))
}

#[test]
fn a_data_set_is_described_and_loaded() {
    let bytes = dataset([4, 0], &[]);
    let expected = FileContent::SafeTensorsDataset {
        examples: 2,
        channels: 3,
        height: 1,
        width: 2,
        max_label: 4,
        per_class: vec![1, 0, 0, 0, 1],
    };
    assert_eq!(inspected(DATASET, &bytes).unwrap(), expected);

    let folder = Folder::new();
    let (places, digests) = places(&[&folder.file("file", &bytes)]);
    let source = || DatasetSource::SafeTensors { file: digests[0] };
    let loaded = load(&spec(source(), 1, 5, [3, 1, 2], Fit::Pad), &places).unwrap();
    assert_eq!((loaded.pixels, loaded.labels), (vec![0, 1, 2, 3, 4, 5], vec![4]));
    let padded = load(&spec(source(), 2, 5, [3, 1, 3], Fit::Pad), &places).unwrap();
    assert_eq!(padded.pixels, [0, 1, 0, 2, 3, 0, 4, 5, 0, 6, 7, 0, 8, 9, 0, 10, 11, 0]);

    let refused = |examples, classes, channels| {
        message(load(&spec(source(), examples, classes, [channels, 1, 2], Fit::Pad), &places))
    };
    assert_eq!(refused(2, 5, 1), "`file`: its images have 3 channels, and 1 are wanted");
    assert_eq!(refused(3, 5, 3), "`file`: holds 2 examples, and 3 are wanted");
    assert_eq!(refused(2, 4, 3), "`file`: label 4 at index 0, with 4 classes: expected 0 to 3");
}

#[test]
fn a_data_set_of_other_types_or_shapes_is_refused() {
    assert_eq!(
        refused([0, 1], &[(r#""images""#, r#""pictures""#)]),
        "`file`: has no tensor `images`; it holds `labels`, `pictures`"
    );
    assert_eq!(refused([0, 1], &[("\"U8\"", "\"I8\"")]), "`file`: `images` has type I8, expected U8");
    assert_eq!(refused([0, 1], &[("\"I64\"", "\"U64\"")]), "`file`: `labels` has type U64, expected I64");
    for shape in ["[2,6,1]", "[2,1,2,3,1]", "[2,2,1,3]", "[12,1]", "[1,3,4,1,1]"] {
        let listed = shape.replace(',', ", ");
        assert_eq!(
            refused([0, 1], &[("[2,3,1,2]", shape)]),
            format!("`file`: `images` has shape {listed}, expected [N, C, H, W] with C = 1 or 3 and nothing zero")
        );
    }
    assert_eq!(refused([0, 1], &[("[2,3,1,2]", "[4,3,1,1]")]), "`file`: holds 2 labels for 4 images");
    assert_eq!(
        refused([0, 1], &[("\"shape\":[2]", "\"shape\":[2,1]")]),
        "`file`: `labels` has shape [2, 1], expected [N]"
    );
    let empty = r#"{"images":{"dtype":"U8","shape":[0,1,2,2],"data_offsets":[0,0]},"labels":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}}"#;
    assert_eq!(
        message(inspected(DATASET, &safetensors(empty, &[]))),
        "`file`: `images` has shape [0, 1, 2, 2], expected [N, C, H, W] with C = 1 or 3 and nothing zero"
    );
}

#[test]
fn labels_that_are_no_classes_are_refused() {
    assert_eq!(refused([0, -1], &[]), "`file`: label -1 at index 1: labels are 0, 1, 2, …");
    assert_eq!(refused([1 << 40, 0], &[]), "`file`: label 1099511627776 at index 0: labels are 0, 1, 2, …");
}

#[test]
fn broken_headers_are_refused() {
    let file = |bytes: &[u8]| message(inspected(DATASET, bytes));
    assert_eq!(file(b"short"), "`file`: 5 bytes are too few for a safetensors file");
    assert_eq!(
        file(b"\x50\x4b\x03\x04 a zip archive"),
        "`file`: not a safetensors file: its first eight bytes claim a header of 8800140462016121680 bytes, more than the 16777216 allowed"
    );
    assert_eq!(
        file(&dataset([0, 1], &[])[..50]),
        "`file`: cut short: it claims a header of 159 bytes, and only 42 follow"
    );
    assert_eq!(
        file(&safetensors("[1, 2]", &[])),
        "`file`: its header is not a list of tensors in JSON: invalid type: sequence, expected a map at line 1 column 0"
    );
    assert_eq!(
        file(&safetensors(r#"{"images":{"dtype":"U8"}}"#, &[])),
        "`file`: its header is not a list of tensors in JSON: `images`: missing field `shape`"
    );
    assert_eq!(
        file(&safetensors(r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#, &[0])),
        "`file`: its header is not a list of tensors in JSON: `a`: invalid value: integer `-1`, expected u64"
    );
    let deep = "[".repeat(100_000);
    assert!(file(&safetensors(&deep, &[])).starts_with("`file`: its header is not a list of tensors in JSON: "));
}

#[test]
fn tensors_that_are_not_where_the_header_says_are_refused() {
    let bytes = dataset([0, 1], &[]);
    assert_eq!(
        message(inspected(DATASET, &bytes[..bytes.len() - 1])),
        "`file`: `labels` lies in the bytes 12 to 28 of 27: cut short, or a broken header"
    );
    assert_eq!(
        message(inspected(DATASET, &[bytes, vec![0]].concat())),
        "`file`: too long: 29 bytes follow the header, and the tensors end at 28"
    );
    assert_eq!(
        refused([0, 1], &[("[2,3,1,2]", "[2,3,2,2]")]),
        "`file`: `images` has 12 bytes, its shape [2, 3, 2, 2] and type U8 take 24"
    );
    assert_eq!(
        refused([0, 1], &[("[2,3,1,2]", "[4294967296,4294967296,3]")]),
        "`file`: `images` has the shape [4294967296, 4294967296, 3], more values than any file holds"
    );
    assert_eq!(
        refused([0, 1], &[("[2,3,1,2]", "[2,3,1,1]"), ("[0,12]", "[0,6]")]),
        "`file`: `labels` starts at byte 12, and the tensor before it ends at 6"
    );
    assert_eq!(
        refused([0, 1], &[("[0,12]", "[12,24]")]),
        "`file`: `images` starts at byte 12, and the tensor before it ends at 0"
    );
    assert_eq!(
        refused([0, 1], &[("[0,12]", "[12,0]")]),
        "`file`: `images` lies in the bytes 12 to 0 of 28: cut short, or a broken header"
    );
    assert_eq!(
        refused([0, 1], &[("\"U8\"", "\"Q7\"")]),
        "`file`: `images` has type Q7, which is none that safetensors knows"
    );
    let largest = format!(r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, u64::MAX);
    assert_eq!(
        message(inspected(DATASET, &safetensors(&largest, &[]))),
        "`file`: `a` lies in the bytes 0 to 18446744073709551615 of 0: cut short, or a broken header"
    );
}

#[test]
fn weights_of_every_precision_become_f32_and_integers_are_left_out() {
    let read = |name: &str| read_checkpoint(&reference(name), CheckpointFormat::SafeTensors).unwrap();
    let (mixed, as_float32) = (read("state_dict.safetensors"), read("state_dict_float32.safetensors"));
    assert_eq!(mixed, as_float32);
    let names: Vec<&str> = mixed.iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(names.is_sorted() && names.contains(&"half") && names.contains(&"double"), "{names:?}");
    assert!(!names.contains(&"num_batches_tracked") && !names.contains(&"mask"), "{names:?}");
}

#[test]
fn weights_that_are_not_finite_are_refused_when_inspected_and_read_otherwise() {
    let header = r#"{"fc.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    let data: Vec<u8> = [0.0, 1.0, f32::NAN, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(weights(header, &data), "`file`: `fc.weight` holds NaN at [1, 0]: weights must be finite numbers");
    let folder = Folder::new();
    let read =
        read_checkpoint(&folder.file("file", &safetensors(header, &data)), CheckpointFormat::SafeTensors).unwrap();
    assert!(read[0].values[2].is_nan(), "a training that diverged leaves such a checkpoint");

    let header = r#"{"b":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}"#;
    assert_eq!(
        weights(header, &1e300_f64.to_le_bytes()),
        "`file`: `b` holds inf at []: weights must be finite numbers"
    );
}

#[test]
fn a_checkpoint_without_weights_is_refused() {
    assert_eq!(weights("{}", &[]), "`file`: holds no weights: none of its 0 tensors is of floating-point numbers");
    let header = r#"{"steps":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;
    assert_eq!(
        weights(header, &[0; 8]),
        "`file`: holds no weights: none of its 1 tensors is of floating-point numbers"
    );
    let header = r#"{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#;
    assert_eq!(weights(header, &[0]), "`file`: `w` has type F8_E4M3; weights are read from F32, F64, F16 and BF16");
}

proptest! {
    #[test]
    fn no_mutation_makes_the_safetensors_reader_panic(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<proptest::sample::Index>>(),
    ) {
        let mut bytes = dataset([0, 1], &[]);
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = inspected(DATASET, &bytes);
        let _ = inspected(WEIGHTS, &bytes);
    }
}
