//! Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929), as torchvision has them.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use crate::experiment::ImageShape;

/// ViT-B/16: twelve layers on patches of 16×16 pixels and a class token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VitB16;

impl VitB16 {
    /// Side of a patch, in pixels.
    pub const PATCH: u32 = 16;
    /// Layers.
    pub const LAYERS: u32 = 12;
    /// Heads of each self-attention.
    pub const HEADS: u32 = 12;
    /// Values of a token.
    pub const WIDTH: u32 = 768;
    /// Patches along a side of the images of 224 pixels that fresh position embeddings are made for.
    pub const GRID: u32 = 14;
    /// The tensor whose length follows from the size of images: one row for the class token, one for each patch of a square.
    pub const POSITIONS: &'static str = "encoder.pos_embedding";
    /// Width of the hidden layer of each block.
    const HIDDEN: u32 = 3072;

    /// Patches along a side that so many rows of [`Self::POSITIONS`] stand for, if they do.
    pub fn grid(rows: u64) -> Option<u64> {
        let patches = rows.checked_sub(1).filter(|patches| *patches > 0)?;
        let side = patches.isqrt();
        (side * side == patches).then_some(side)
    }
}

impl Architecture for VitB16 {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        let width = Self::WIDTH;
        list.push("class_token".to_owned(), &[1, 1, width]);
        list.biased_convolution("conv_proj", width, channels, Self::PATCH);
        list.push(Self::POSITIONS.to_owned(), &[1, Self::GRID * Self::GRID + 1, width]);
        for layer in 0..Self::LAYERS {
            let prefix = format!("encoder.layers.encoder_layer_{layer}");
            list.layer_norm(&format!("{prefix}.ln_1"), width);
            list.push(format!("{prefix}.self_attention.in_proj_weight"), &[3 * width, width]);
            list.push(format!("{prefix}.self_attention.in_proj_bias"), &[3 * width]);
            list.linear(&format!("{prefix}.self_attention.out_proj"), width, width);
            list.layer_norm(&format!("{prefix}.ln_2"), width);
            list.linear(&format!("{prefix}.mlp.0"), Self::HIDDEN, width);
            list.linear(&format!("{prefix}.mlp.3"), width, Self::HIDDEN);
        }
        list.layer_norm("encoder.ln", width);
        list.linear("heads.head", classes, width);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["class_token", "conv_proj.", "encoder.pos_embedding"] },
            Stage { name: "layer0", prefixes: &["encoder.layers.encoder_layer_0."] },
            Stage { name: "layer1", prefixes: &["encoder.layers.encoder_layer_1."] },
            Stage { name: "layer2", prefixes: &["encoder.layers.encoder_layer_2."] },
            Stage { name: "layer3", prefixes: &["encoder.layers.encoder_layer_3."] },
            Stage { name: "layer4", prefixes: &["encoder.layers.encoder_layer_4."] },
            Stage { name: "layer5", prefixes: &["encoder.layers.encoder_layer_5."] },
            Stage { name: "layer6", prefixes: &["encoder.layers.encoder_layer_6."] },
            Stage { name: "layer7", prefixes: &["encoder.layers.encoder_layer_7."] },
            Stage { name: "layer8", prefixes: &["encoder.layers.encoder_layer_8."] },
            Stage { name: "layer9", prefixes: &["encoder.layers.encoder_layer_9."] },
            Stage { name: "layer10", prefixes: &["encoder.layers.encoder_layer_10."] },
            Stage { name: "layer11", prefixes: &["encoder.layers.encoder_layer_11.", "encoder.ln."] },
        ]
    }

    fn head(&self) -> &'static str {
        "heads.head"
    }

    fn min_image_size(&self) -> u32 {
        Self::PATCH
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let patch = Self::PATCH;
        let patches = u64::from(image.height / patch) * u64::from(image.width / patch);
        let (tokens, width, hidden) = (patches + 1, u64::from(Self::WIDTH), u64::from(Self::HIDDEN));
        let embedding = patches * width * u64::from(image.channels * patch * patch);
        let projections = tokens * (4 * width * width + 2 * width * hidden);
        let attention = 2 * tokens * tokens * width;
        embedding + u64::from(Self::LAYERS) * (projections + attention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stand_for_squares_of_patches() {
        assert_eq!([197, 17, 5, 2].map(VitB16::grid), [Some(14), Some(4), Some(2), Some(1)]);
        assert_eq!([0, 1, 196, 3].map(VitB16::grid), [None; 4]);
    }
}
