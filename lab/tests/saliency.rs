//! What models go by: agreement with PyTorch, on values of `reference/golden_saliency.py`, and what must hold of every map.
//!
//! `cargo test -p gauntlet-lab --test saliency -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{AnalysisImage, Backbone, OtherClasses};
use gauntlet_lab::LabError;
use gauntlet_lab::analyses::saliency::{Alignments, alignments, gradients, integrated_gradients, pictures};
use gauntlet_lab::models::{Mode, Model};
use gauntlet_lab::training::Wish;
use support::trained::{self, changed, constant, shaken};
use support::{Golden, formula_model, formula_pixels, relative_difference};
use tch::{Kind, Tensor};

#[test]
fn maps_equal_those_of_pytorch() {
    let golden = Golden::read("saliency");
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let pixels = formula_pixels("saliency", &[3, 1, 32, 32]);
    let classes = Tensor::from_slice(&[0_i64, 4, 9]);
    let plain = gradients(&model, &pixels, &classes).unwrap();
    let integrated = integrated_gradients(&model, &pixels, &classes, 32).unwrap();
    for (name, found) in [("gradients", plain), ("integrated", integrated)] {
        let difference = relative_difference(&found, golden.get(name));
        println!("{name}: differs by {difference:.1e}");
        assert!(difference < 1e-4, "{name} differs by {difference:e}");
    }
}

#[test]
fn integrated_gradients_add_up_to_the_difference_of_the_logits_the_better_the_finer_the_steps() {
    let model = trained::model();
    let batch = trained::examples().range(0, 24).unwrap();
    let of_labels = |pixels: &Tensor| {
        let logits = tch::no_grad(|| model.forward(pixels, Mode::Eval)).unwrap().logits;
        logits.gather(1, &batch.labels.unsqueeze(1), false).squeeze_dim(1)
    };
    let rise = of_labels(&batch.pixels) - of_labels(&batch.pixels.zeros_like());
    let scale = rise.abs().max().double_value(&[]);
    let errors = [1, 32, 256].map(|steps| {
        let maps = integrated_gradients(&model, &batch.pixels, &batch.labels, steps).unwrap();
        let sums = maps.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
        (sums - &rise).abs().max().double_value(&[]) / scale
    });
    println!("off by {errors:?} of the largest difference");
    assert!(errors[1] < 0.05 && errors[2] < 0.01 && errors[2] < errors[0], "{errors:?}");
}

fn aligned(models: [&Model; 2], classes: OtherClasses, batch_size: usize) -> Alignments {
    alignments(models, &trained::examples(), (4, classes), batch_size, &mut |_, _| Wish::GoOn).unwrap()
}

#[test]
fn a_model_is_aligned_with_itself_and_its_opposite_and_less_with_others_and_other_examples() {
    let model = trained::model();
    let opposite = changed(|name, tensor| if name == "fc.weight" { tensor * -1.0 } else { tensor.copy() });
    for other in [&model, &opposite] {
        let found = aligned([&model, other], OtherClasses::Same, 45);
        assert!((found.gradient.same - 1.0).abs() < 1e-6 && (found.integrated.same - 1.0).abs() < 1e-6, "{found:?}");
        assert!(found.gradient.null < 0.9, "{found:?}");
    }
    let other = aligned([&model, &shaken(0.4)], OtherClasses::Same, 45);
    println!("{other:?}");
    for alignment in [other.gradient, other.integrated] {
        assert!(alignment.same < 0.99 && alignment.same > alignment.null && alignment.null > 0.0, "{other:?}");
    }
}

#[test]
fn batches_change_no_alignment_and_each_example_has_one_other() {
    let (model, other) = (trained::model(), shaken(0.4));
    let [whole, parts, single] = [90, 7, 1].map(|size| aligned([&model, &other], OtherClasses::Same, size));
    for found in [parts, single] {
        for (one, same) in [(found.gradient, whole.gradient), (found.integrated, whole.integrated)] {
            assert!((one.same - same.same).abs() < 1e-5 && (one.null - same.null).abs() < 1e-5, "{found:?} {whole:?}");
        }
    }
}

#[test]
fn a_second_model_with_classes_of_its_own_is_asked_about_what_it_predicts() {
    let (model, other) = (trained::model(), trained::model());
    let [same, own] = [OtherClasses::Same, OtherClasses::Own].map(|classes| aligned([&model, &other], classes, 45));
    // The model gets some examples wrong, and there it is asked about another class.
    assert!(own.gradient.same < same.gradient.same && own.gradient.same > 0.8, "{own:?}");
}

#[test]
fn maps_of_nothing_but_zeros_are_aligned_with_nothing() {
    let found = aligned([&trained::model(), &constant(0)], OtherClasses::Same, 45);
    let all = [found.gradient, found.integrated].map(|alignment| [alignment.same, alignment.null]);
    assert_eq!(all, [[0.0; 2]; 2]);
}

/// The levels of a grey image.
fn levels(images: &[AnalysisImage], name: &str) -> Vec<u8> {
    let image = images.iter().find(|image| image.name == name).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&image.png)).read_info().unwrap();
    let mut levels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut levels).unwrap();
    assert_eq!((info.color_type, info.width, info.height), (png::ColorType::Grayscale, 32, 32));
    levels
}

/// The levels of a map whose largest value to either side is black or white.
fn expected_levels(map: &Tensor) -> Vec<f32> {
    let values: Vec<f32> = Vec::try_from(map.flatten(0, -1)).unwrap();
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    values.iter().map(|value| 127.5 + 127.5 * value / largest).collect()
}

#[test]
fn images_show_the_first_examples_and_the_maps_of_both_models() {
    let (model, other) = (trained::model(), constant(1));
    // The other model says 1 whatever it sees, and is asked about that class.
    let other_model = changed(|name, tensor| {
        if name == "fc.bias" { tensor + 100.0 * Tensor::from_slice(&[0.0f32, 1.0, 0.0]) } else { tensor.copy() }
    });
    let images = pictures([&model, &other_model], &trained::examples(), (4, OtherClasses::Own)).unwrap();
    let kinds = ["original", "gradient", "integrated", "other-gradient", "other-integrated"];
    let expected = (0..3).flat_map(|row| kinds.map(|kind| format!("example-{row}-{kind}"))).collect::<Vec<_>>();
    assert_eq!(images.iter().map(|image| image.name.clone()).collect::<Vec<_>>(), expected);

    let batch = trained::examples().range(0, 3).unwrap();
    let ones = Tensor::ones_like(&batch.labels);
    let maps = [
        ("gradient", gradients(&model, &batch.pixels, &batch.labels).unwrap()),
        ("integrated", integrated_gradients(&model, &batch.pixels, &batch.labels, 4).unwrap()),
        ("other-gradient", gradients(&other_model, &batch.pixels, &ones).unwrap()),
        ("other-integrated", integrated_gradients(&other_model, &batch.pixels, &ones, 4).unwrap()),
    ];
    for row in 0..3 {
        let original: Vec<f32> = Vec::try_from(batch.pixels.get(row).flatten(0, -1) * 255.0).unwrap();
        let mut shown = vec![("original", original)];
        shown.extend(maps.iter().map(|(name, maps)| (*name, expected_levels(&maps.get(row)))));
        for (name, expected) in shown {
            let found = levels(&images, &format!("example-{row}-{name}"));
            let off = found.iter().zip(&expected).map(|(found, level)| (f32::from(*found) - level).abs());
            assert!(off.fold(0.0, f32::max) < 0.51, "example {row}: {name}");
        }
    }
    // A map of nothing but zeros is grey.
    let images = pictures([&model, &other], &trained::examples(), (4, OtherClasses::Own)).unwrap();
    assert_eq!(levels(&images, "example-2-other-gradient"), [128; 1024]);
}

#[test]
fn it_can_be_stopped_and_needs_steps() {
    let (model, examples) = (trained::model(), trained::examples());
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done >= 45 { Wish::Stop } else { Wish::GoOn }
    };
    let stopped = alignments([&model, &model], &examples, (1, OtherClasses::Same), 45, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    assert_eq!(heard, [(0, 90), (45, 90)]);
    let error = alignments([&model, &model], &examples, (0, OtherClasses::Same), 45, &mut |_, _| Wish::GoOn);
    assert!(matches!(error, Err(LabError::Spec(_))), "{error:?}");
}
