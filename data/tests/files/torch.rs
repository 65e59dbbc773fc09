//! State dicts that PyTorch wrote.

use std::collections::BTreeMap;

use gauntlet_data::{NamedTensor, read_checkpoint};
use gauntlet_domain::catalogue;
use gauntlet_domain::experiment::CheckpointFormat::{Pytorch, SafeTensors};
use gauntlet_domain::sweep::{FileContent, FilePlace, FileRole};

use crate::support::{message, reference};

fn read(name: &str) -> Vec<NamedTensor> {
    read_checkpoint(&reference(name), Pytorch).unwrap()
}

fn refused(name: &str) -> String {
    message(read_checkpoint(&reference(name), Pytorch))
}

#[test]
fn every_kind_of_tensor_is_read_as_safetensors_stores_it() {
    let expected = read_checkpoint(&reference("state_dict_float32.safetensors"), SafeTensors).unwrap();
    assert_eq!(read("state_dict.pth"), expected);
    assert_eq!(read("state_dict_protocol_4.pth"), expected);
}

#[test]
fn views_parameters_and_half_precision_have_the_values_that_python_gave_them() {
    let tensors: BTreeMap<String, NamedTensor> =
        read("state_dict.pth").into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let has = |name: &str, shape: &[u64], values: &[f32]| {
        let tensor = &tensors[name];
        assert_eq!((tensor.shape.as_slice(), tensor.values.as_slice()), (shape, values), "{name}");
    };
    let eighths = |indices: &[u8]| indices.iter().map(|index| f32::from(*index) / 8.0).collect::<Vec<_>>();
    has("contiguous", &[2, 3], &[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]);
    has("half", &[6], &[65504.0, 6.103_515_6e-5, 5.960_464_5e-8, -0.0, 0.333_251_95, -1024.0]);
    has("double", &[3], &[1.0 / 3.0, 0.0, -2.5e30]);
    has("parameter", &[2, 2], &[0.0, -0.5, -1.0, -1.5]);
    has("expanded", &[3], &[4.5; 3]);
    has("scalar", &[], &[0.125]);
    has("empty", &[0, 3], &[]);
    has("slice", &[2, 2, 2], &eighths(&[4, 6, 8, 10, 16, 18, 20, 22]));
    let transposed: Vec<u8> = (0..6).flat_map(|row| (0..4).map(move |column| column * 6 + row)).collect();
    has("transposed", &[6, 4], &eighths(&transposed));
    has("tied", &[24], &eighths(&(0..24).collect::<Vec<_>>()));
    assert_eq!(tensors.len(), 12, "integers and truth values are left out");
}

#[test]
fn a_training_scripts_checkpoint_is_read_through_to_its_state_dict() {
    let module = read("module.pth");
    let names: Vec<&str> = module.iter().map(|tensor| tensor.name.as_str()).collect();
    let expected = ["bias", "running_mean", "running_var", "weight"].map(|name| format!("bn.{name}"));
    assert_eq!(names[..4], expected);
    assert_eq!(names[4..], ["conv.bias", "conv.weight", "fc.bias", "fc.weight"]);
    // The optimiser's step had zero gradients.
    assert_eq!(read("checkpoint.pth"), module);
    assert_eq!(read("checkpoint_protocol_4.pth"), module);
    assert_eq!(read("checkpoint_model.pth"), module);
}

#[test]
fn a_file_of_pytorch_before_1_6_holds_what_a_newer_one_holds() {
    assert_eq!(read("legacy.pth"), read("module.pth"));
    assert_eq!(read("legacy_state_dict.pth"), read("state_dict.pth"), "views, parameters, half precision");
}

#[test]
fn objects_beside_the_state_dict_are_passed_over() {
    let module = read("module.pth");
    // A Namespace, a class of the script's own, a dictionary with a default, numbers and arrays of NumPy, a date, a path, a device.
    assert_eq!(read("objects.pth"), module);
    assert_eq!(read("objects_legacy.pth"), module);
    assert_eq!(read("numpy_scalar.pth"), module);
    assert_eq!(read("nested_twice.pth"), module);
}

#[test]
fn a_call_of_an_unknown_function_beside_the_state_dict_is_refused() {
    assert_eq!(refused("enum.pth"), format!("`enum.pth`: its pickle asks for `__main__.Phase`, {HINT}"));
}

#[test]
fn the_planner_learns_names_and_shapes_in_order() {
    let facts = gauntlet_data::inspect(FileRole::Checkpoint(Pytorch), &reference("module.pth")).unwrap();
    let FileContent::Checkpoint { tensors, .. } = facts.content else { panic!("{facts:?}") };
    let found: Vec<(String, Vec<u64>)> = tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    assert!(found.is_sorted());
    assert!(found.contains(&("conv.weight".into(), vec![2, 1, 2, 2])), "{found:?}");
}

#[test]
fn the_catalogue_knows_what_the_weights_that_set_up_brings_hold() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.gauntlet/data");
    let pinned = catalogue::pinned_facts();
    for entry in catalogue::checkpoints() {
        let path = data.join(&entry.file.path);
        if !path.exists() {
            eprintln!("not compared: set-up did not bring {}", path.display());
            continue;
        }
        let found = gauntlet_data::inspect(FileRole::Checkpoint(entry.format), &path).unwrap();
        assert_eq!(found, pinned.files[&FilePlace::Data(entry.file.path)], "{}", entry.name);
    }
}

const HINT: &str = "which is no part of a state dict; nothing in the file was executed; if you trust the file, load it in PyTorch and save \
                    the weights alone with `torch.save(model.state_dict(), …)`";

#[test]
fn a_pickle_that_asks_for_anything_else_is_refused_by_name_and_not_executed() {
    let system = if cfg!(windows) { "nt.system" } else { "posix.system" };
    assert_eq!(refused("malicious.pth"), format!("`malicious.pth`: its pickle asks for `{system}`, {HINT}"));
    assert!(!std::path::Path::new("/tmp/gauntlet-executed-a-pickle").exists());
    assert_eq!(
        refused("whole_model.pth"),
        format!("`whole_model.pth`: its pickle asks for `torch.nn.modules.container.Sequential`, {HINT}")
    );
    assert_eq!(
        refused("complex.pth"),
        format!("`complex.pth`: its pickle asks for `torch.ComplexFloatStorage`, {HINT}")
    );
}

#[test]
fn a_file_of_another_kind_is_refused_with_what_to_do() {
    let found = message(read_checkpoint(&reference("state_dict.safetensors"), Pytorch));
    assert!(found.starts_with("`state_dict.safetensors`: not a file that PyTorch's `torch.save` wrote: "), "{found}");
    assert!(found.ends_with(
        "; a checkpoint in another format can be read by loading it in PyTorch and saving it again with `torch.save(model.state_dict(), …)`"
    ), "{found}");
    assert_eq!(
        refused("torchscript.pth"),
        "`torchscript.pth`: a TorchScript archive, which holds code; save the weights alone with `torch.save(model.state_dict(), …)`"
    );
    assert_eq!(refused("list.pth"), "`list.pth`: holds a list, expected a state dict: a dictionary of tensors by name");
    assert_eq!(
        refused("tensor.pth"),
        "`tensor.pth`: holds a single tensor, expected a state dict: a dictionary of tensors by name"
    );
    assert_eq!(
        refused("other_nesting.pth"),
        "`other_nesting.pth`: holds no tensors at its top or in `state_dict`, `model_state_dict`, `model`, `net` or `weights`; its entries are `network`, `epoch`"
    );
    assert_eq!(
        refused("integers.pth"),
        "`integers.pth`: holds no weights: none of its 1 tensors is of floating-point numbers"
    );
    assert_eq!(refused("number_key.pth"), "`number_key.pth`: names a tensor by an integer, expected a text");
}
