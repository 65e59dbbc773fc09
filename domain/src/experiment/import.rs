//! How the tensors of a checkpoint that somebody else saved become the state dict of a backbone.
//!
//! Training code wraps a model in others, and every wrapper puts its name before the names of the tensors. The rules are these: the words of
//! [`WRAPPERS`] are taken off the front of a name until it is one of the backbone's; tensors of a wrapper that subtracts a mean and divides by a
//! standard deviation are the checkpoint's normalisation; the copies that an attacking wrapper keeps of the model must equal it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Backbone, Normalize, Stem};

/// What wrappers put before the names of a model's tensors.
///
/// `module.` is PyTorch's `DataParallel`, `_orig_mod.` its compiler; `model.` Lightning and RobustBench; `attacker.model.` the MadryLab's `robustness`
/// library; `1.` a `Sequential` of a normalisation and a model.
const WRAPPERS: [&str; 8] = ["module.", "model.", "attacker.", "backbone.", "network.", "net.", "_orig_mod.", "1."];
/// Modules that normalise images; the empty one stands for the wrapper itself.
const NORMALIZERS: [&str; 7] = ["", "normalize", "normalizer", "normalization", "norm", "preprocess", "0"];
/// Largest difference of two values of a mean or a standard deviation that are taken to be the same.
const SAME_MOMENT: f64 = 1e-3;
/// Values of a tensor that can be a mean or a standard deviation: one per channel.
const MOMENT_VALUES: usize = 3;

/// Half of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// What is subtracted.
    Mean,
    /// What is divided by.
    Std,
}

/// Values of a tensor in a checkpoint that may be half of a normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentTensor {
    /// Its name in the file.
    pub name: String,
    /// One, or one per channel, in pixel space.
    pub values: Vec<f64>,
}

impl MomentTensor {
    /// The values of a tensor, as short decimal numbers.
    pub fn new(name: &str, values: &[f32]) -> Self {
        let decimal = |value: &f32| value.to_string().parse().unwrap_or_else(|_| f64::from(*value));
        Self { name: name.to_owned(), values: values.iter().map(decimal).collect() }
    }
}

/// What each tensor of a checkpoint is to a backbone, by names alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Import<'a> {
    /// What was taken off the names, such as `module.model.`.
    pub wrapper: &'a str,
    /// Names in the file by names in the state dict.
    pub tensors: BTreeMap<&'a str, &'a str>,
    /// Names in the file of further copies, each with the name in the file of the tensor that it should equal.
    pub copies: Vec<(&'a str, &'a str)>,
    /// Names in the file of the checkpoint's own normalisation.
    pub moments: Vec<(&'a str, Moment)>,
    /// Names in the file of what is nothing to the backbone. Counters of batches are not among them: nothing depends on them.
    pub unexpected: Vec<&'a str>,
}

impl<'a> Import<'a> {
    /// Sorts the names of a checkpoint's tensors.
    ///
    /// Where several wrappers hold tensors of the backbone, the one with most of them counts, and among equals the one with the shortest name.
    pub fn sort(names: impl IntoIterator<Item = &'a str>, backbone: Backbone) -> Self {
        let expected: BTreeSet<String> =
            backbone.state_dict(Stem::Standard, 1, 1).into_iter().map(|parameter| parameter.name).collect();
        let mut import = Self::default();
        let mut wrapped: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for name in names.into_iter().filter(|name| !name.ends_with("num_batches_tracked")) {
            let bare = unwrapped(name, &expected);
            if expected.contains(bare) {
                wrapped.entry(&name[..name.len() - bare.len()]).or_default().insert(bare, name);
            } else if let Some(moment) = normalizer(bare) {
                import.moments.push((name, moment));
            } else {
                import.unexpected.push(name);
            }
        }
        let most = wrapped.iter().max_by_key(|(wrapper, tensors)| (tensors.len(), usize::MAX - wrapper.len()));
        let Some(wrapper) = most.map(|(wrapper, _)| *wrapper) else { return import };
        import.wrapper = wrapper;
        import.tensors = wrapped.remove(wrapper).unwrap_or_default();
        for (bare, name) in wrapped.into_values().flatten() {
            match import.tensors.get(bare) {
                Some(kept) => import.copies.push((name, kept)),
                None => import.unexpected.push(name),
            }
        }
        import
    }

    /// What was done to the names, for people; none where they are the backbone's own.
    pub fn description(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.wrapper.is_empty() {
            parts.push(format!("its {} tensors below `{}` are taken", self.tensors.len(), self.wrapper));
        }
        if let Some((copy, _)) = self.copies.first() {
            parts.push(format!("{} further copies, such as `{copy}`, are passed over", self.copies.len()));
        }
        if let Some((moment, _)) = self.moments.first() {
            parts.push(format!("its own normalisation, such as `{moment}`, agrees with the model's"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Whether the checkpoint's own normalisation, if it has one, is the model's. `values` gives a tensor's values by its name in the file.
    ///
    /// # Errors
    /// What contradicts.
    pub fn check_normalize(
        &self,
        normalize: &Normalize,
        values: impl Fn(&str) -> Option<Vec<f64>>,
    ) -> Result<(), NormalizeConflict> {
        for (name, moment) in &self.moments {
            let (part, expected) = match moment {
                Moment::Mean => ("mean", &normalize.mean),
                Moment::Std => ("std", &normalize.std),
            };
            let found = values(name).unwrap_or_default();
            let same = |channel: usize| {
                let value = if found.len() == 1 { found.first() } else { found.get(channel) };
                value.is_some_and(|value| (value - expected[channel]).abs() <= SAME_MOMENT)
            };
            if found.len() > expected.len() || !(0..expected.len()).all(same) {
                return Err(NormalizeConflict { tensor: (*name).to_owned(), part, found, expected: expected.clone() });
            }
        }
        Ok(())
    }
}

/// A checkpoint that was trained behind another normalisation than the sweep says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "it was trained behind another normalisation: its `{tensor}` is {found:?}, the model's `normalize` has {part} = {expected:?}"
)]
pub struct NormalizeConflict {
    /// Name in the file.
    pub tensor: String,
    /// `mean` or `std`.
    pub part: &'static str,
    /// Its values; none if it is no mean or standard deviation of at most three channels.
    pub found: Vec<f64>,
    /// The model's.
    pub expected: Vec<f64>,
}

/// Whether a tensor of this name and so many values may be half of a normalisation: its values are of interest then.
pub fn may_be_moment(name: &str, values: usize) -> bool {
    (1..=MOMENT_VALUES).contains(&values) && moment(name.rsplit('.').next().unwrap_or(name)).is_some()
}

/// The name without wrappers.
fn unwrapped<'a>(name: &'a str, expected: &BTreeSet<String>) -> &'a str {
    let mut bare = name;
    while !expected.contains(bare) {
        let Some(inner) = WRAPPERS.iter().find_map(|wrapper| bare.strip_prefix(wrapper)) else { break };
        bare = inner;
    }
    bare
}

fn normalizer(bare: &str) -> Option<Moment> {
    let (module, part) = bare.rsplit_once('.').unwrap_or(("", bare));
    moment(part).filter(|_| NORMALIZERS.contains(&module))
}

fn moment(part: &str) -> Option<Moment> {
    match part {
        "mean" | "mu" | "new_mean" => Some(Moment::Mean),
        "std" | "sigma" | "new_std" => Some(Moment::Std),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKBONE: Backbone = Backbone::ResNet18;

    fn names(wrappers: &[&str]) -> Vec<String> {
        let bare = BACKBONE.state_dict(Stem::Standard, 3, 10);
        wrappers.iter().flat_map(|wrapper| bare.iter().map(move |tensor| format!("{wrapper}{}", tensor.name))).collect()
    }

    fn sort(names: &[String]) -> Import<'_> {
        Import::sort(names.iter().map(String::as_str), BACKBONE)
    }

    #[test]
    fn wrappers_are_taken_off_whatever_their_order() {
        for wrapper in
            ["", "module.", "model.", "module.model.", "_orig_mod.module.", "1.", "module.1.", "net.backbone."]
        {
            let names = names(&[wrapper]);
            let import = sort(&names);
            assert_eq!(import.wrapper, wrapper);
            assert_eq!(import.tensors["layer1.0.conv1.weight"], format!("{wrapper}layer1.0.conv1.weight"));
            assert_eq!((import.tensors.len(), import.unexpected.len()), (names.len(), 0), "{wrapper}");
        }
    }

    #[test]
    fn a_wrapper_that_nobody_knows_stays_and_is_told() {
        let names = names(&["teacher."]);
        let import = sort(&names);
        assert!(import.tensors.is_empty());
        assert_eq!(import.unexpected.len(), names.len());
    }

    #[test]
    fn the_robustness_librarys_attacker_is_a_copy_of_its_model() {
        let mut names = names(&["module.attacker.model.", "module.model."]);
        for wrapper in ["module.normalizer", "module.attacker.normalize"] {
            names.extend([format!("{wrapper}.new_mean"), format!("{wrapper}.new_std")]);
        }
        names.push("module.model.bn1.num_batches_tracked".to_owned());
        let import = sort(&names);
        assert_eq!(import.wrapper, "module.model.");
        assert_eq!(import.copies.len(), import.tensors.len());
        assert!(import.copies.contains(&("module.attacker.model.fc.bias", "module.model.fc.bias")));
        assert_eq!(import.moments.len(), 4);
        assert!(import.unexpected.is_empty());
        let told = import.description().unwrap();
        assert!(told.starts_with("its 102 tensors below `module.model.` are taken; 102 further copies"), "{told}");
    }

    #[test]
    fn a_tensor_under_another_wrapper_than_the_rest_is_no_part_of_the_model() {
        let mut names = names(&[""]);
        names.retain(|name| name != "bn1.bias");
        names.extend(["module.bn1.bias".to_owned(), "module.bn1.weight".to_owned()]);
        let import = sort(&names);
        assert_eq!(import.wrapper, "");
        assert_eq!(import.unexpected, ["module.bn1.bias"]);
        assert_eq!(import.copies, [("module.bn1.weight", "bn1.weight")]);
    }

    #[test]
    fn a_normalisation_that_contradicts_the_models_is_told_with_both() {
        let names = ["mu", "sigma", "model.conv1.weight"].map(str::to_owned);
        let import = sort(&names);
        assert_eq!(import.moments, [("mu", Moment::Mean), ("sigma", Moment::Std)]);
        let values = |name: &str| Some(if name == "mu" { vec![0.4914, 0.4822, 0.4465] } else { vec![0.25] });
        let normalize = |mean: [f64; 3]| Normalize { mean: mean.to_vec(), std: vec![0.25; 3] };
        assert_eq!(import.check_normalize(&normalize([0.491_4, 0.482_16, 0.446_53]), values), Ok(()));
        let conflict = import.check_normalize(&normalize([0.5, 0.4822, 0.4465]), values).unwrap_err();
        assert_eq!(
            conflict.to_string(),
            "it was trained behind another normalisation: its `mu` is [0.4914, 0.4822, 0.4465], the model's `normalize` has mean = [0.5, 0.4822, 0.4465]"
        );
        assert!(import.check_normalize(&normalize([0.4914; 3]), |_| None).is_err(), "a mean that cannot be read");
        let grey = Normalize { mean: vec![0.4914], std: vec![0.25] };
        assert!(import.check_normalize(&grey, values).is_err(), "three channels against one");
    }

    #[test]
    fn running_statistics_are_no_normalisation() {
        assert!(!may_be_moment("bn1.running_mean", 3));
        assert!(may_be_moment("module.normalizer.new_mean", 3) && may_be_moment("mu", 1));
        assert!(!may_be_moment("mean", 64));
        assert_eq!(normalizer("layer1.0.mean"), None);
    }
}
