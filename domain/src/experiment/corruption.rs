//! The common corruptions of images.

use serde::{Deserialize, Serialize};

/// A corruption of ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261), under its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// Normal noise.
    GaussianNoise,
    /// Poisson noise, as of few photons.
    ShotNoise,
    /// Values replaced by black or white.
    ImpulseNoise,
    /// The blur of a lens out of focus.
    DefocusBlur,
    /// The image through frosted glass.
    GlassBlur,
    /// The blur of a camera in motion.
    MotionBlur,
    /// The blur of a camera that moves towards the scene.
    ZoomBlur,
    /// Falling snow.
    Snow,
    /// Ice on the lens.
    Frost,
    /// Fog.
    Fog,
    /// More light.
    Brightness,
    /// Less contrast.
    Contrast,
    /// Small regions displaced.
    ElasticTransform,
    /// Large pixels.
    Pixelate,
    /// JPEG of low quality.
    JpegCompression,
    /// Normal noise in proportion to the value.
    SpeckleNoise,
    /// Convolution with a Gaussian.
    GaussianBlur,
    /// Water or mud on the lens.
    Spatter,
    /// Paler or stronger colours.
    Saturate,
}

impl Corruption {
    /// All of them: the fifteen of the benchmark, then the four that it leaves for validation.
    pub const ALL: [Self; 19] = [
        Self::GaussianNoise,
        Self::ShotNoise,
        Self::ImpulseNoise,
        Self::DefocusBlur,
        Self::GlassBlur,
        Self::MotionBlur,
        Self::ZoomBlur,
        Self::Snow,
        Self::Frost,
        Self::Fog,
        Self::Brightness,
        Self::Contrast,
        Self::ElasticTransform,
        Self::Pixelate,
        Self::JpegCompression,
        Self::SpeckleNoise,
        Self::GaussianBlur,
        Self::Spatter,
        Self::Saturate,
    ];

    /// The strongest; 1 is the weakest.
    pub const MOST_SEVERE: u32 = 5;

    /// The name in the literature, in sweep files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GaussianNoise => "gaussian_noise",
            Self::ShotNoise => "shot_noise",
            Self::ImpulseNoise => "impulse_noise",
            Self::DefocusBlur => "defocus_blur",
            Self::GlassBlur => "glass_blur",
            Self::MotionBlur => "motion_blur",
            Self::ZoomBlur => "zoom_blur",
            Self::Snow => "snow",
            Self::Frost => "frost",
            Self::Fog => "fog",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::ElasticTransform => "elastic_transform",
            Self::Pixelate => "pixelate",
            Self::JpegCompression => "jpeg_compression",
            Self::SpeckleNoise => "speckle_noise",
            Self::GaussianBlur => "gaussian_blur",
            Self::Spatter => "spatter",
            Self::Saturate => "saturate",
        }
    }
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What `corruptions` measures: the examples as they are, the mean over the corruptions, and each of them.
pub(super) const CORRUPTION_MEASURES: [&str; 21] = {
    let mut names = ["clean"; 21];
    names[1] = "mean";
    let mut index = 0;
    while index < Corruption::ALL.len() {
        names[index + 2] = Corruption::ALL[index].name();
        index += 1;
    }
    names
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corruption_is_written_by_its_name_and_measured_under_it() {
        for corruption in Corruption::ALL {
            assert_eq!(serde_json::to_value(corruption).unwrap(), corruption.name());
            assert!(CORRUPTION_MEASURES.contains(&corruption.name()));
        }
        assert_eq!(CORRUPTION_MEASURES.len(), Corruption::ALL.len() + 2);
    }
}
