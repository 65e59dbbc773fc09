//! Archives and pickles that PyTorch never wrote.

use std::io::{Cursor, Write};

use gauntlet_domain::experiment::CheckpointFormat::Pytorch;
use gauntlet_domain::sweep::{FileContent, FileRole};
use proptest::prelude::*;
use zip::read::{ArchiveOffset, Config};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::support::{inspected, message, reference};

const WEIGHTS: FileRole = FileRole::Checkpoint(Pytorch);

/// An archive of these entries, not compressed.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An archive with this pickle and a storage of four floats.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    archive(&[("archive/data.pkl", pickle), ("archive/data/0", &[0; 16])])
}

fn refused(pickle: &[u8]) -> String {
    message(inspected(WEIGHTS, &with_pickle(pickle)))
}

fn text(content: &str) -> Vec<u8> {
    [b"X", (content.len() as u32).to_le_bytes().as_slice(), content.as_bytes()].concat()
}

fn numbers(values: &[u32]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| [b"J".as_slice(), &value.to_le_bytes()].concat()).collect();
    [b"(".as_slice(), &values, b"t"].concat()
}

/// `{"w": tensor}`, its storage of this type, key and length.
fn one_tensor(storage: (&str, &str, u32), offset: u32, shape: &[u32], stride: &[u32]) -> Vec<u8> {
    let (element, key, length) = storage;
    let global = format!("ctorch\n{element}\n").into_bytes();
    let length = [b"J".as_slice(), &length.to_le_bytes()].concat();
    let id = [b"(".to_vec(), text("storage"), global, text(key), text("cpu"), length, b"tQ".to_vec()].concat();
    let offset = [b"J".as_slice(), &offset.to_le_bytes()].concat();
    let arguments = [b"(".to_vec(), id, offset, numbers(shape), numbers(stride), b"\x89Nt".to_vec()].concat();
    let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), arguments, b"R".to_vec()].concat();
    [b"\x80\x02}".to_vec(), text("w"), tensor, b"s.".to_vec()].concat()
}

#[test]
fn a_pickle_written_by_hand_is_read() {
    let found = inspected(WEIGHTS, &with_pickle(&one_tensor(("FloatStorage", "0", 4), 0, &[2, 2], &[2, 1]))).unwrap();
    let FileContent::Checkpoint { tensors, .. } = found else { panic!("{found:?}") };
    assert_eq!((tensors[0].name.as_str(), tensors[0].shape.as_slice()), ("w", &[2, 2][..]));
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    let four = ("FloatStorage", "0", 4);
    assert_eq!(
        refused(&one_tensor(four, 1, &[2, 2], &[2, 1])),
        "`file`: `w` has shape [2, 2] and strides [2, 1] from value 1, which leaves its storage of 4 values"
    );
    assert_eq!(refused(&one_tensor(four, 0, &[2, 2], &[1])), "`file`: `w` has 1 strides for 2 axes");
    assert_eq!(
        refused(&one_tensor(("FloatStorage", "0", 5), 0, &[4], &[1])),
        "`file`: `w` lies in the storage `0`, which has 16 bytes, expected 20"
    );
    assert_eq!(
        refused(&one_tensor(("DoubleStorage", "0", 4), 0, &[4], &[1])),
        "`file`: `w` lies in the storage `0`, which has 16 bytes, expected 32"
    );
    assert_eq!(
        refused(&one_tensor(("FloatStorage", "7", 4), 0, &[4], &[1])),
        "`file`: its entry `archive/data/7` cannot be read: specified file not found in archive"
    );
    assert!(refused(&one_tensor(four, u32::MAX, &[1], &[1])).contains("expected a tensor"), "a negative offset");
}

#[test]
fn a_small_file_cannot_claim_many_values() {
    let expanded = one_tensor(("FloatStorage", "0", 4), 0, &[1 << 30, 1 << 30], &[0, 0]);
    let found = refused(&expanded);
    assert!(
        found
            .starts_with("`file`: `w` and the tensors before it have 1152921504606846976 values, more than a file of "),
        "{found}"
    );
    assert!(refused(&one_tensor(("FloatStorage", "0", 4), 0, &[1; 65], &[1; 65])).contains("at most 64 axes"));
}

#[test]
fn functions_are_refused_however_they_are_asked_for() {
    let name = |pickle: &[u8]| {
        let message = refused(pickle);
        let (_, rest) = message.split_once("asks for `").unwrap_or_else(|| panic!("{message}"));
        rest.split_once('`').unwrap().0.to_owned()
    };
    assert_eq!(name(b"cos\nsystem\nX\x02\0\0\0ls\x85R."), "os.system");
    assert_eq!(
        name(&[b"\x80\x04".to_vec(), text("builtins"), text("eval"), b"\x93.".to_vec()].concat()),
        "builtins.eval"
    );
    assert_eq!(
        name(b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n."),
        "torch._utils._rebuild_tensor_v2.__globals__"
    );
    assert_eq!(name(b"ctorch\nload\n."), "torch.load");
    assert_eq!(name(b"cev\x1b[31mil\nname\n."), "ev\\u{1b}[31mil.name", "no control characters reach the terminal");
    let long = name(&[b"c".as_slice(), &[b'a'; 10_000], b"\nb\n."].concat());
    assert_eq!(long.chars().count(), 81, "{long}");
}

#[test]
fn instructions_that_pytorch_never_writes_are_refused() {
    for opcode in [b'i', b'o', b'I', b'F', b'V', b'P', b'p', b'g', 0x82, 0x97, 0xff] {
        let expected =
            format!("`file`: its pickle has the instruction {opcode:#04x} at byte 2, which `torch.save` never writes");
        assert_eq!(refused(&[0x80, 2, opcode]), expected);
    }
}

#[test]
fn broken_pickles_are_refused_with_the_place() {
    assert_eq!(refused(b""), "`file`: its pickle is cut short at byte 0");
    assert_eq!(refused(b"}"), "`file`: its pickle is cut short at byte 1");
    assert_eq!(refused(b"X\xff\xff\xff\x7fabc"), "`file`: its pickle is cut short at byte 8");
    assert_eq!(refused(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "`file`: its pickle is cut short at byte 9");
    assert_eq!(refused(b"cos"), "`file`: its pickle is cut short at byte 3");
    let broken = |pickle: &[u8], offset: usize, expected: &str| {
        assert_eq!(refused(pickle), format!("`file`: its pickle is broken at byte {offset}: expected {expected}"));
    };
    broken(b".", 1, "a value");
    broken(b"N(0", 3, "a value");
    broken(b"t", 1, "a mark");
    broken(b"N\x86", 2, "more values");
    broken(b"h\x07", 2, "a value that was seen before");
    broken(b"Ns", 2, "more values");
    broken(b"}Ns", 3, "a value");
    broken(b"NNNs", 4, "a dictionary, then keys and values");
    broken(b"}(Nu", 4, "a dictionary, then keys and values");
    broken(b"}Na", 3, "a list or a set, then its items");
    broken(b"N)R", 3, "a function and its arguments");
    broken(b"})\x81", 3, "a class and what its object is made of");
    broken(b"})}\x92", 4, "a class and what its object is made of");
    broken(b"NQ", 2, "the type, key and length of a storage");
    broken(b"NNb", 3, "a dictionary or a tensor to set attributes of");
    broken(b"\x88\x88\x93", 3, "the names of a module and of something in it");
    broken(b"ccollections\nOrderedDict\nN\x85R", 28, "an OrderedDict without arguments");
    broken(b"ctorch._utils\n_rebuild_parameter\nN\x85R", 36, "a parameter made of a tensor");
}

#[test]
fn a_pickle_cannot_fill_the_memory() {
    let many = 1_100_000;
    assert_eq!(refused(&vec![b'N'; many]), "`file`: its pickle has more than 1048576 values");
    assert_eq!(refused(&vec![b'('; many]), "`file`: its pickle has more than 1048576 marks");
    assert_eq!(
        refused(&[b"N".to_vec(), vec![b'2'; many]].concat()),
        "`file`: its pickle has more than 1048576 values in a row"
    );
    assert_eq!(
        refused(&[b"N".to_vec(), vec![0x94; many]].concat()),
        "`file`: its pickle has more than 1048576 remembered values"
    );
}

#[test]
fn a_dictionary_that_holds_itself_does_no_harm() {
    let pickle = [b"}q\0".to_vec(), text("model"), b"h\0s.".to_vec()].concat();
    assert_eq!(
        refused(&pickle),
        "`file`: holds no tensors at its top or in `state_dict`, `model_state_dict`, `model`, `net` or `weights`; its entries \
         are `model`"
    );
}

#[test]
fn archives_that_pytorch_did_not_write_are_refused() {
    let file = |bytes: &[u8]| message(inspected(WEIGHTS, bytes));
    let none = "`file`: a zip archive, but none that PyTorch's `torch.save` wrote: it has no `data.pkl`";
    assert_eq!(file(&archive(&[("readme", b"hello")])), none);
    assert_eq!(file(&archive(&[("a/b/data.pkl", b".")])), none);
    assert_eq!(
        file(&archive(&[("archive/data.pkl", b"}."), ("archive/byteorder", b"big")])),
        "`file`: its numbers are in the byte order `big`, expected `little`"
    );
    assert!(file(b"no archive").starts_with("`file`: not a file that PyTorch's `torch.save` wrote: "));
}

#[test]
fn an_object_of_an_unknown_class_stands_for_nothing() {
    let object = b"cargparse\nNamespace\n)\x81}b".to_vec();
    let whole = [object.clone(), b".".to_vec()].concat();
    assert!(refused(&whole).starts_with("`file`: its pickle asks for `argparse.Namespace`"));
    let beside = [b"}".to_vec(), text("args"), object, b"s.".to_vec()].concat();
    assert!(refused(&beside).contains("its entries are `args`"), "it is passed over");
}

#[test]
fn a_cut_or_damaged_file_of_pytorch_before_1_6_is_refused() {
    let good = std::fs::read(reference("legacy.pth")).unwrap();
    let file = |bytes: &[u8]| message(inspected(WEIGHTS, bytes));
    for length in (0..good.len()).step_by(7) {
        assert!(inspected(WEIGHTS, &good[..length]).is_err(), "cut to {length} bytes");
    }
    let big = b"little_endianq\x02\x88";
    let at = good.windows(big.len()).position(|window| window == big).unwrap() + big.len() - 1;
    let mut other = good.clone();
    other[at] = 0x89;
    assert_eq!(file(&other), "`file`: its numbers are in the byte order `big`, expected `little`");
    // The last storage is that of three values of the head's bias; eight bytes before them tell their number.
    let mut long = good.clone();
    let count = good.len() - 3 * 4 - 8;
    long[count..count + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(file(&long).contains("in the format of PyTorch before 1.6, broken at byte "), "{}", file(&long));
}

/// Replaces bytes at a place of each header of this signature.
fn with_headers(mut archive: Vec<u8>, signature: &[u8; 4], offset: usize, value: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..archive.len() - 3).filter(|at| archive[*at..].starts_with(signature)).collect();
    for place in places {
        archive[place + offset..][..value.len()].copy_from_slice(value);
    }
    archive
}

#[test]
fn compressed_entries_and_false_sizes_are_refused() {
    let good = || with_pickle(&one_tensor(("FloatStorage", "0", 4), 0, &[4], &[1]));
    let refused = |bytes: &[u8]| message(inspected(WEIGHTS, bytes));
    let compressed = with_headers(with_headers(good(), b"PK\x03\x04", 8, &[8, 0]), b"PK\x01\x02", 10, &[8, 0]);
    assert_eq!(
        refused(&compressed),
        "`file`: its entry `archive/data.pkl` cannot be read: it is compressed, which `torch.save` never does"
    );
    let huge = 0x7fff_ffff_u32.to_le_bytes();
    let longer = with_headers(with_headers(good(), b"PK\x01\x02", 20, &huge), b"PK\x01\x02", 24, &huge);
    assert_eq!(
        refused(&longer),
        "`file`: its entry `archive/data.pkl` cannot be read: it claims 2147483647 bytes in a file of 372"
    );
    let inflated = with_headers(good(), b"PK\x01\x02", 24, &huge);
    assert_eq!(
        refused(&inflated),
        "`file`: its entry `archive/data.pkl` cannot be read: it is compressed, which `torch.save` never does"
    );
}

#[test]
fn entries_that_share_their_bytes_are_refused() {
    let entry = |name: &str, key: &str| {
        let pickle = one_tensor(("FloatStorage", key, 1_000), 0, &[1], &[1]);
        [text(name), pickle[3 + text("w").len()..pickle.len() - 1].to_vec()].concat()
    };
    let pickle = [b"\x80\x02}".to_vec(), entry("v", "0"), entry("w", "1"), b".".to_vec()].concat();
    let mut bytes =
        archive(&[("archive/data.pkl", &pickle), ("archive/data/0", &[0; 4_000]), ("archive/data/1", b"short")]);
    let headers: Vec<usize> = (0..bytes.len() - 3).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect();
    // Checksum, sizes and place of the second storage become those of the first.
    for field in [16..28, 42..46] {
        bytes.copy_within(headers[1] + field.start..headers[1] + field.end, headers[2] + field.start);
    }
    assert_eq!(
        message(inspected(WEIGHTS, &bytes)),
        "`file`: its entry `archive/data/1` cannot be read: it shares its bytes with other entries"
    );
}

#[test]
fn damaged_storages_are_noticed_by_their_checksum() {
    let mut bytes = with_pickle(&one_tensor(("FloatStorage", "0", 4), 0, &[4], &[1]));
    let storage = bytes.windows(16).position(|window| window == [0; 16]).unwrap();
    bytes[storage + 3] ^= 0x40;
    assert_eq!(
        message(inspected(WEIGHTS, &bytes)),
        "`file`: its entry `archive/data/0` cannot be read: Invalid checksum"
    );
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let pickle = one_tensor(("FloatStorage", "0", 4), 0, &[2, 2], &[1, 2]);
    let data: Vec<u8> = [0.0, 1.0, f32::INFINITY, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let bytes = archive(&[("archive/data.pkl", &pickle), ("archive/data/0", &data)]);
    assert_eq!(message(inspected(WEIGHTS, &bytes)), "`file`: `w` holds inf at [0, 1]: weights must be finite numbers");
}

fn mutated(mut bytes: Vec<u8>, edits: Vec<(prop::sample::Index, u8)>, cut: Option<prop::sample::Index>) -> Vec<u8> {
    for (index, byte) in edits {
        let index = index.index(bytes.len());
        bytes[index] = byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

/// The pickle in a file that PyTorch wrote.
fn reference_pickle(name: &str) -> Vec<u8> {
    let file = std::fs::read(reference(name)).unwrap();
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut zip = ZipArchive::with_config(config, Cursor::new(file)).unwrap();
    let name =
        zip.file_names().map(|name| name.unwrap().into_owned()).find(|name| name.ends_with("/data.pkl")).unwrap();
    let mut pickle = Vec::new();
    std::io::copy(&mut zip.by_name(&name).unwrap(), &mut pickle).unwrap();
    pickle
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_mutation_makes_the_pickle_reader_panic(
        name in prop::sample::select(vec!["state_dict.pth", "state_dict_protocol_4.pth", "checkpoint.pth"]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let _ = inspected(WEIGHTS, &with_pickle(&mutated(reference_pickle(name), edits, cut)));
    }

    #[test]
    fn no_bytes_make_the_pickle_reader_panic(pickle in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = inspected(WEIGHTS, &with_pickle(&pickle));
    }

    #[test]
    fn no_mutation_makes_the_archive_reader_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let _ = inspected(WEIGHTS, &mutated(std::fs::read(reference("state_dict.pth")).unwrap(), edits, cut));
    }
}
