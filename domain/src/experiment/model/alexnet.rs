//! AlexNet in the form of one column, as torchvision has it (Krizhevsky 2014, arXiv 1404.5997).

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// AlexNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlexNet;

/// Side of the map that the classifier takes.
const POOLED: u32 = 6;
/// Width of the classifier's hidden layers.
const HIDDEN: u32 = 4096;

impl Architecture for AlexNet {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        list.biased_convolution("features.0", 64, channels, 11);
        list.biased_convolution("features.3", 192, 64, 5);
        list.biased_convolution("features.6", 384, 192, 3);
        list.biased_convolution("features.8", 256, 384, 3);
        list.biased_convolution("features.10", 256, 256, 3);
        list.linear("classifier.1", HIDDEN, 256 * POOLED * POOLED);
        list.linear("classifier.4", HIDDEN, HIDDEN);
        list.linear("classifier.6", classes, HIDDEN);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "block1", prefixes: &["features.0."] },
            Stage { name: "block2", prefixes: &["features.3."] },
            Stage { name: "block3", prefixes: &["features.6.", "features.8.", "features.10."] },
            Stage { name: "hidden", prefixes: &["classifier.1.", "classifier.4."] },
        ]
    }

    fn head(&self) -> &'static str {
        "classifier.6"
    }

    fn min_image_size(&self) -> u32 {
        63
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        work.slide(11, 4, 2);
        work.convolution(64, image.channels, 11);
        work.slide(3, 2, 0);
        work.convolution(192, 64, 5);
        work.slide(3, 2, 0);
        work.convolution(384, 192, 3);
        work.convolution(256, 384, 3);
        work.convolution(256, 256, 3);
        work.linear(HIDDEN, 256 * POOLED * POOLED);
        work.linear(HIDDEN, HIDDEN);
        work.total
    }
}
