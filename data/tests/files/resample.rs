//! Images brought to another size, against PyTorch.

use gauntlet_data::load;
use gauntlet_domain::experiment::{DatasetSource, Fit};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::support::{Folder, places, reference, spec};

fn floats(tensor: &TensorView<'_>) -> Vec<f32> {
    tensor.data().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[test]
fn resizing_agrees_with_pytorch_to_the_rounding() {
    let file = std::fs::read(reference("resampled.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let images = tensors.tensor("images").unwrap();
    let labels: Vec<u8> = [0_i64, 1].iter().flat_map(|label| label.to_le_bytes()).collect();
    let labels = TensorView::new(safetensors::Dtype::I64, vec![2], &labels).unwrap();
    let dataset = safetensors::serialize([("images", &images), ("labels", &labels)], None).unwrap();
    let folder = Folder::new();
    let (places, digests) = places(&[&folder.file("file", &dataset)]);

    for [height, width] in [[3, 4], [14, 18], [5, 20], [7, 1]] {
        let source = DatasetSource::SafeTensors { file: digests[0] };
        let loaded = load(&spec(source, 2, 2, [1, height, width], Fit::Resize), &places).unwrap();
        let expected = floats(&tensors.tensor(&format!("{height}x{width}")).unwrap());
        assert_eq!(loaded.pixels.len(), expected.len());
        for (found, expected) in loaded.pixels.iter().zip(expected) {
            // PyTorch gives the value before rounding.
            assert!(
                (f32::from(*found) - expected).abs() <= 0.5 + 1e-4,
                "{height}×{width}: {found}, PyTorch {expected}"
            );
        }
    }
}

#[test]
fn a_flat_image_stays_flat_at_every_size() {
    let header = r#"{"images":{"dtype":"U8","shape":[1,3,5,5],"data_offsets":[0,75]},"labels":{"dtype":"I64","shape":[1],"data_offsets":[75,83]}}"#;
    let bytes = crate::support::safetensors(header, &[[201; 75].as_slice(), &[0; 8]].concat());
    let folder = Folder::new();
    let (places, digests) = places(&[&folder.file("file", &bytes)]);
    for side in 1..20 {
        let source = DatasetSource::SafeTensors { file: digests[0] };
        let loaded = load(&spec(source, 1, 1, [3, side, 21 - side], Fit::Resize), &places).unwrap();
        assert_eq!(loaded.pixels, vec![201; (3 * side * (21 - side)) as usize], "{side}");
    }
}
