//! Analyses: what is asked of models beside their accuracy.

use serde::{Deserialize, Serialize};

use super::attack::{OtherModel, UapMethod};
use super::construction::Construction;
use super::corruption::{CORRUPTION_MEASURES, Corruption};
use super::dataset::DatasetSpec;
use super::model::{ModelSpec, Weights};
use super::result::ArtifactRef;
use super::threat::Norm;

/// Most values of one analysis; more is taken for a mistake.
pub const MOST_ANALYSIS_VALUES: usize = 100_000;
/// Most images of one analysis.
pub const MOST_ANALYSIS_IMAGES: usize = 64;
/// Most bytes that they take together: they lie in the database, and go to whoever asks for a report.
pub const MOST_IMAGE_BYTES: usize = 8 << 20;
/// Longest name of a layer or an image, in bytes.
const LONGEST_NAME: usize = 128;
/// How every PNG file begins.
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// An analysis of a model, or of two beside each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysisSpec {
    /// The examples on which it is asked.
    pub dataset: DatasetSpec,
    /// The model.
    pub model: ModelSpec,
    /// Its weights.
    pub weights: Weights,
    /// The model that it is compared with, where the method compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Box<OtherModel>>,
    /// What is asked.
    pub method: AnalysisMethod,
    /// Seed of everything random in it, freshly drawn weights included.
    pub seed: u64,
    /// [`NUMERICS_VERSION`](super::NUMERICS_VERSION) of the build that planned it.
    pub numerics: u32,
}

/// What an analysis asks, with its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "asks", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AnalysisMethod {
    /// How alike the representations of two models are, layer by layer: linear CKA (arXiv 1905.00414), mean CCA, SVCCA (arXiv 1706.05806) and PWCCA
    /// (arXiv 1806.05759).
    Similarity {
        /// Share of the variance that the directions have to explain which SVCCA keeps, in (0,1].
        threshold: f64,
    },
    /// How many examples the model gets right when it sees only the low, or only the high frequencies of each image. `x` is the radius.
    Frequency {
        /// Where the low frequencies end, in cycles per image; at least 0, all different.
        radii: Vec<f64>,
    },
    /// Which share of the examples the model gets wrong when a wave of a single frequency is added to them: a Fourier heat map (arXiv 1906.08988). `x` is
    /// the wave's horizontal frequency, the layer its vertical one, in cycles per image.
    HeatMap {
        /// L2 norm of a wave in one channel, in pixels of \[0,1\]; above 0.
        norm: f64,
        /// The largest frequency to either side; at least 1. What an image has no frequencies for is left out.
        reach: u32,
    },
    /// How many examples the model gets right when each image is corrupted as in ImageNet-C (arXiv 1903.12261). `x` is the severity.
    Corruptions {
        /// Which corruptions, all different.
        kinds: Vec<Corruption>,
        /// How strong, 1 to [`Corruption::MOST_SEVERE`], all different.
        severities: Vec<u32>,
    },
    /// How often adversarial examples that are crafted on one of two models fool the other, both ways. `x` is the radius.
    Transfer {
        /// How they are crafted.
        by: Ascents,
        /// What the classes of the other model are.
        other_classes: OtherClasses,
    },
    /// How many images one perturbation fools that was crafted on one of two models, and on how many it fools the other. `x` is the radius.
    Uap {
        /// Norm of the ball: L∞ or L2.
        norm: Norm,
        /// Its radius in pixel space.
        eps: f64,
        /// How a perturbation is crafted.
        by: UapMethod,
        /// Most passes over the examples that it is crafted on.
        passes: u32,
        /// Share of those examples that ends the crafting once fooled.
        fooling_rate: f64,
        /// How many examples these are, the first; the others are shown. Half of them if none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        craft_examples: Option<u32>,
    },
    /// The loss around images, along the signs of its gradient and along random signs: whether the gradient is worth anything. `x` is the distance.
    Landscape {
        /// L∞ distances in pixel space, above 0, all different; the originals are looked at besides.
        distances: Vec<f64>,
    },
    /// How alike the pixels are by which two models go: input gradients, and integrated gradients (arXiv 1703.01365), of the logit of the true class.
    Saliency {
        /// Steps from the black image to the original.
        steps: u32,
        /// What the classes of the other model are.
        other_classes: OtherClasses,
    },
    /// The softmax probability of the true class, of originals and of adversarial examples. `x` is the radius.
    Confidence {
        /// How they are crafted.
        by: Ascents,
    },
    /// Which share of the energy of adversarial perturbations lies at which frequencies, beside that of random noise. `x` is the distance from frequency
    /// zero in cycles per image; where there are several radii, the layer is the radius.
    Spectrum {
        /// How they are crafted.
        by: Ascents,
    },
    /// A data set of what the model sees in the examples: an artifact that trainings can take for their train split.
    RobustFeatures {
        /// Which.
        construction: Construction,
    },
}

/// How an analysis attacks images: projected gradient ascent (Madry et al. 2018, arXiv 1706.06083) from the image itself, within several radii.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ascents {
    /// Norm of the balls: L∞ or L2.
    pub norm: Norm,
    /// Their radii in pixel space, above 0, all different.
    pub epsilons: Vec<f64>,
    /// Steps; all of them are taken for every example.
    pub steps: u32,
    /// Length of a step, as a multiple of the radius.
    pub step_of_eps: f64,
}

/// What the classes are of the model that another one is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherClasses {
    /// The data set's, as the model's: an example has one true class for both.
    Same,
    /// Its own, which the labels say nothing about: what it predicts for the original takes the place of the label.
    Own,
}

impl AnalysisMethod {
    /// The name in sweep files, tables and messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Similarity { .. } => "similarity",
            Self::Frequency { .. } => "frequency",
            Self::HeatMap { .. } => "heat-map",
            Self::Corruptions { .. } => "corruptions",
            Self::Transfer { .. } => "transfer",
            Self::Uap { .. } => "uap",
            Self::Landscape { .. } => "landscape",
            Self::Saliency { .. } => "saliency",
            Self::Confidence { .. } => "confidence",
            Self::Spectrum { .. } => "spectrum",
            Self::RobustFeatures { .. } => "robust-features",
        }
    }

    /// Names of the quantities that it measures.
    pub const fn measures(&self) -> &'static [&'static str] {
        match self {
            Self::Similarity { .. } => &["cka", "cca", "svcca", "pwcca"],
            Self::Frequency { .. } => &["low-pass-accuracy", "high-pass-accuracy"],
            Self::HeatMap { .. } => &["error"],
            Self::Corruptions { .. } => &CORRUPTION_MEASURES,
            Self::Transfer { .. } => &["own-fooled", "passed-on", "received", "other-fooled", "eligible"],
            Self::Uap { .. } => &["own-fooled", "passed-on", "received", "other-fooled", "noise", "other-noise"],
            Self::Landscape { .. } => &["gradient-loss", "random-loss", "gradient-accuracy", "random-accuracy"],
            Self::Confidence { .. } => &["confidence", "confidence-q10", "confidence-q50", "confidence-q90"],
            Self::Spectrum { .. } => &["energy", "noise-energy"],
            Self::RobustFeatures { construction: Construction::Represented { .. } } => {
                &["agreement", "distance", "feature-distance", "start-feature-distance"]
            }
            Self::RobustFeatures { .. } => &["agreement", "distance"],
            Self::Saliency { .. } => {
                &["gradient-alignment", "gradient-null", "integrated-alignment", "integrated-null"]
            }
        }
    }

    /// What the axis of the method of this name measures, along which its numbers lie: their `x`. None where it has no axis, or there is no such method.
    pub fn axis(name: &str) -> Option<&'static str> {
        match name {
            "frequency" | "spectrum" => Some("radius, cycles per image"),
            "heat-map" => Some("horizontal frequency, cycles per image"),
            "corruptions" => Some("severity"),
            "transfer" | "uap" | "confidence" => Some("ε"),
            "landscape" => Some("distance (L∞)"),
            _ => None,
        }
    }

    /// Whether it compares the model with another one.
    pub const fn compares(&self) -> bool {
        match self {
            Self::Similarity { .. } | Self::Transfer { .. } | Self::Uap { .. } | Self::Saliency { .. } => true,
            Self::Frequency { .. }
            | Self::HeatMap { .. }
            | Self::Corruptions { .. }
            | Self::Landscape { .. }
            | Self::Confidence { .. }
            | Self::Spectrum { .. }
            | Self::RobustFeatures { .. } => false,
        }
    }

    /// Whether it makes a data set.
    pub const fn constructs(&self) -> bool {
        matches!(self, Self::RobustFeatures { .. })
    }

    /// The same in comparison with a model of such classes, where that makes a difference.
    #[must_use]
    pub fn with_other_classes(mut self, classes: OtherClasses) -> Self {
        if let Self::Transfer { other_classes, .. } | Self::Saliency { other_classes, .. } = &mut self {
            *other_classes = classes;
        }
        self
    }
}

/// The result of an analysis: numbers, each with what it is a number of, a few images for people, and what it made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AnalysisResult {
    /// In the order in which they are shown.
    pub values: Vec<AnalysisValue>,
    /// Likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<AnalysisImage>,
    /// The data set that it [made](AnalysisMethod::constructs): `.safetensors` with `images` f32 \[N,C,H,W\] and `labels` i64 \[N\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<ArtifactRef>,
}

/// A small image that an analysis leaves, to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalysisImage {
    /// What it shows, in lower-case letters, digits and `-`: `example-3-original`.
    pub name: String,
    /// A PNG file.
    pub png: Vec<u8>,
}

/// A number that an analysis came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisValue {
    /// What was measured; one of [`AnalysisMethod::measures`].
    pub measure: String,
    /// The layer of the network; empty where it is about none.
    #[serde(default)]
    pub layer: String,
    /// Where along the axis of the analysis, such as a radius; none where it has none.
    #[serde(default)]
    pub x: Option<f64>,
    /// The number; finite.
    pub value: f64,
}

/// A result that its analysis cannot have come to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnalysis {
    /// No values, or too many.
    #[error("{0} values came, expected 1 to {MOST_ANALYSIS_VALUES}")]
    Count(usize),
    /// A name that the method does not measure, or that is too long.
    #[error("value {0} is called `{1}`, which this analysis does not measure")]
    Name(usize, String),
    /// Not a finite number.
    #[error("value {0} is not a finite number")]
    NotFinite(usize),
    /// Two values of one measure, layer and place.
    #[error("value {0} stands there twice")]
    Twice(usize),
    /// Too many images, or too large ones.
    #[error("{0} images of {1} bytes came: at most {MOST_ANALYSIS_IMAGES} of {MOST_IMAGE_BYTES} together")]
    Images(usize, usize),
    /// An image without a proper name of its own, or no PNG file.
    #[error("image {0} has no name of its own, or is no PNG file")]
    Image(usize),
    /// A data set where none is made, or none where one is.
    #[error("{}", if *.0 { "a data set came, and this analysis makes none" } else { "no data set came, and this analysis makes one" })]
    Dataset(bool),
}

impl AnalysisResult {
    /// Checks that the method can have come to these values.
    ///
    /// # Errors
    /// The first value that it cannot.
    pub fn check(&self, method: &AnalysisMethod) -> Result<(), InvalidAnalysis> {
        let count = self.values.len();
        if !(1..=MOST_ANALYSIS_VALUES).contains(&count) {
            return Err(InvalidAnalysis::Count(count));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, AnalysisValue { measure, layer, x, value }) in self.values.iter().enumerate() {
            let printable = layer.len() <= LONGEST_NAME && layer.chars().all(|c| c.is_ascii_graphic());
            if !method.measures().contains(&measure.as_str()) || !printable {
                return Err(InvalidAnalysis::Name(index, measure.chars().take(40).collect()));
            }
            if !value.is_finite() || x.is_some_and(|x| !x.is_finite()) {
                return Err(InvalidAnalysis::NotFinite(index));
            }
            if !seen.insert((measure, layer, x.map(f64::to_bits))) {
                return Err(InvalidAnalysis::Twice(index));
            }
        }
        if self.dataset.is_some() != method.constructs() {
            return Err(InvalidAnalysis::Dataset(self.dataset.is_some()));
        }
        self.check_images()
    }

    fn check_images(&self) -> Result<(), InvalidAnalysis> {
        let (count, bytes) = (self.images.len(), self.images.iter().map(|image| image.png.len()).sum());
        if count > MOST_ANALYSIS_IMAGES || bytes > MOST_IMAGE_BYTES {
            return Err(InvalidAnalysis::Images(count, bytes));
        }
        let mut names = std::collections::BTreeSet::new();
        let proper = |AnalysisImage { name, png }: &AnalysisImage| {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            !name.is_empty() && name.len() <= LONGEST_NAME && plain && png.starts_with(PNG_SIGNATURE)
        };
        match self.images.iter().position(|image| !proper(image) || !names.insert(&image.name)) {
            Some(index) => Err(InvalidAnalysis::Image(index)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::construction::Descent;
    use super::*;

    const SIMILARITY: AnalysisMethod = AnalysisMethod::Similarity { threshold: 0.98 };

    fn value(measure: &str, layer: &str, value: f64) -> AnalysisValue {
        AnalysisValue { measure: measure.to_owned(), layer: layer.to_owned(), x: None, value }
    }

    fn checked(values: Vec<AnalysisValue>) -> Result<(), InvalidAnalysis> {
        AnalysisResult { values, ..AnalysisResult::default() }.check(&SIMILARITY)
    }

    #[test]
    fn a_result_holds_only_what_its_analysis_measures_each_once_and_finite() {
        assert_eq!(checked(vec![value("cka", "layer1", 0.5), value("cka", "layer2", 0.5)]), Ok(()));
        assert_eq!(checked(vec![]), Err(InvalidAnalysis::Count(0)));
        assert_eq!(checked(vec![value("aai", "", 0.5)]), Err(InvalidAnalysis::Name(0, "aai".into())));
        assert_eq!(checked(vec![value("cka", "a\nb", 0.5)]), Err(InvalidAnalysis::Name(0, "cka".into())));
        assert_eq!(checked(vec![value("cka", "", f64::NAN)]), Err(InvalidAnalysis::NotFinite(0)));
        assert_eq!(checked(vec![value("cka", "", 0.1), value("cka", "", 0.2)]), Err(InvalidAnalysis::Twice(1)));
    }

    #[test]
    fn a_data_set_comes_from_what_makes_one_and_from_nothing_else() {
        let descent = Descent { norm: Norm::L2, eps: 0.5, steps: 10, step_size: 0.1 };
        let makes = AnalysisMethod::RobustFeatures { construction: Construction::NextTarget(descent) };
        let dataset = Some(ArtifactRef { digest: crate::digest::Digest::of(b"images"), size_bytes: 6 });
        let of = |measure, dataset| AnalysisResult { values: vec![value(measure, "", 0.5)], images: vec![], dataset };
        assert_eq!(of("agreement", dataset).check(&makes), Ok(()));
        assert_eq!(of("agreement", None).check(&makes), Err(InvalidAnalysis::Dataset(false)));
        assert_eq!(of("cka", dataset).check(&SIMILARITY), Err(InvalidAnalysis::Dataset(true)));
    }

    #[test]
    fn the_axis_of_a_method_is_named_where_it_has_one() {
        let axes = ["frequency", "corruptions", "transfer", "uap", "confidence", "landscape"].map(AnalysisMethod::axis);
        let expected = ["radius, cycles per image", "severity", "ε", "ε", "ε", "distance (L∞)"];
        assert_eq!(axes, expected.map(Some));
        assert_eq!([SIMILARITY.name(), "saliency", "of-tomorrow"].map(AnalysisMethod::axis), [None; 3]);
    }

    #[test]
    fn images_are_png_files_with_names_of_their_own_and_not_too_many() {
        let image = |name: &str| AnalysisImage { name: name.to_owned(), png: [PNG_SIGNATURE, b"rest"].concat() };
        let checked = |images: Vec<AnalysisImage>| {
            AnalysisResult { values: vec![value("cka", "layer1", 0.5)], images, dataset: None }.check(&SIMILARITY)
        };
        assert_eq!(checked(vec![image("example-0"), image("example-1")]), Ok(()));
        assert_eq!(checked(vec![image("example-0"), image("example-0")]), Err(InvalidAnalysis::Image(1)));
        assert_eq!(checked(vec![image("")]), Err(InvalidAnalysis::Image(0)));
        assert_eq!(checked(vec![image("../a")]), Err(InvalidAnalysis::Image(0)));
        assert_eq!(
            checked(vec![AnalysisImage { png: b"GIF89a".to_vec(), ..image("a") }]),
            Err(InvalidAnalysis::Image(0))
        );
        let many = (0..=MOST_ANALYSIS_IMAGES).map(|number| image(&number.to_string())).collect();
        assert!(matches!(checked(many), Err(InvalidAnalysis::Images(65, _))));
        let large = AnalysisImage { png: [PNG_SIGNATURE, &vec![0; MOST_IMAGE_BYTES]].concat(), ..image("a") };
        assert!(matches!(checked(vec![large]), Err(InvalidAnalysis::Images(1, _))));
    }
}
