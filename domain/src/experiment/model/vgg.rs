//! VGG-16 with batch normalisation (Simonyan and Zisserman 2015, arXiv 1409.1556), as torchvision has it.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// VGG-16 with batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vgg;

/// Side of the map that the classifier takes.
const POOLED: u32 = 7;
/// Width of the classifier's hidden layers.
const HIDDEN: u32 = 4096;

impl Vgg {
    /// Channels and number of the 3×3 convolutions of each block; a pooling ends a block.
    pub const BLOCKS: [(u32, u32); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

    /// Number within `features` of the first convolution of each block: convolution, normalisation and activation are three, the pooling is one.
    pub const FIRST: [u32; 5] = [0, 7, 14, 24, 34];
}

impl Architecture for Vgg {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        let mut inputs = channels;
        for ((outputs, count), first) in Self::BLOCKS.into_iter().zip(Self::FIRST) {
            for number in 0..count {
                list.biased_convolution(&format!("features.{}", first + 3 * number), outputs, inputs, 3);
                list.batch_norm(&format!("features.{}", first + 3 * number + 1), outputs);
                inputs = outputs;
            }
        }
        list.linear("classifier.0", HIDDEN, inputs * POOLED * POOLED);
        list.linear("classifier.3", HIDDEN, HIDDEN);
        list.linear("classifier.6", classes, HIDDEN);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "block1", prefixes: &["features.0.", "features.1.", "features.3.", "features.4."] },
            Stage { name: "block2", prefixes: &["features.7.", "features.8.", "features.10.", "features.11."] },
            Stage {
                name: "block3",
                prefixes: &[
                    "features.14.",
                    "features.15.",
                    "features.17.",
                    "features.18.",
                    "features.20.",
                    "features.21.",
                ],
            },
            Stage {
                name: "block4",
                prefixes: &[
                    "features.24.",
                    "features.25.",
                    "features.27.",
                    "features.28.",
                    "features.30.",
                    "features.31.",
                ],
            },
            Stage {
                name: "block5",
                prefixes: &[
                    "features.34.",
                    "features.35.",
                    "features.37.",
                    "features.38.",
                    "features.40.",
                    "features.41.",
                ],
            },
            Stage { name: "hidden", prefixes: &["classifier.0.", "classifier.3."] },
        ]
    }

    fn head(&self) -> &'static str {
        "classifier.6"
    }

    fn min_image_size(&self) -> u32 {
        32
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        let mut inputs = image.channels;
        for (outputs, count) in Self::BLOCKS {
            for _ in 0..count {
                work.convolution(outputs, inputs, 3);
                inputs = outputs;
            }
            work.slide(2, 2, 0);
        }
        work.linear(HIDDEN, inputs * POOLED * POOLED);
        work.linear(HIDDEN, HIDDEN);
        work.total
    }
}
