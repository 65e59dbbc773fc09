//! Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929), as torchvision has them.

use gauntlet_domain::experiment::VitB16;
use tch::{Kind, Tensor};

use super::Mode;
use super::layers::{Convolution, LayerNorm, Linear};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// Added to the variance by its normalisations.
const EPSILON: f64 = 1e-6;

/// A vision transformer. Its position embeddings are for a square of patches; for images of another size they are interpolated.
#[derive(Debug)]
pub(super) struct VisionTransformer {
    patches: Convolution,
    /// \[1,1,F\].
    class_token: Tensor,
    /// \[1,1 + G·G,F\]: the class token's, then those of a square of G·G patches.
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
}

impl VisionTransformer {
    /// ViT-B/16 with these parameters.
    pub(super) fn b16(parameters: &Parameters) -> Result<Self, LabError> {
        let layer = |number| Layer::new(&format!("encoder.layers.encoder_layer_{number}"), parameters);
        Ok(Self {
            patches: Convolution::new("conv_proj", VitB16::PATCH.into(), 0, parameters)?,
            class_token: parameters.share("class_token")?,
            positions: parameters.share(VitB16::POSITIONS)?,
            layers: (0..VitB16::LAYERS).map(layer).collect::<Result<_, _>>()?,
            norm: LayerNorm::new("encoder.ln", EPSILON, parameters)?,
            head: Linear::new("heads.head", parameters)?,
        })
    }

    /// The class token and a token for each patch, \[n,1 + patches,F\].
    fn embed(&self, images: &Tensor) -> tch::Result<Tensor> {
        let patches = self.patches.forward(images)?;
        let (batch, rows, columns) = (patches.size()[0], patches.size()[2], patches.size()[3]);
        let tokens = patches.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let class_token = self.class_token.f_expand([batch, -1, -1], false)?;
        Tensor::f_cat(&[&class_token, &tokens], 1)?.f_add(&self.positions_for(rows, columns)?)
    }

    fn positions_for(&self, rows: i64, columns: i64) -> tch::Result<Tensor> {
        let own = self.positions.size()[1] - 1;
        let side = own.isqrt();
        if (rows, columns) == (side, side) {
            return Ok(self.positions.shallow_clone());
        }
        let class = self.positions.f_narrow(1, 0, 1)?;
        let grid =
            interpolation(side, rows, columns, &self.positions)?.f_matmul(&self.positions.f_narrow(1, 1, own)?)?;
        Tensor::f_cat(&[&class, &grid], 1)
    }
}

/// The matrix, \[rows·columns,side·side\], that interpolates a square of values to another grid: bicubic with the corners aligned, as torchvision's
/// `interpolate_embeddings`. As a product with a matrix its gradient is the same in every run, also on a GPU.
fn interpolation(side: i64, rows: i64, columns: i64, like: &Tensor) -> tch::Result<Tensor> {
    tch::no_grad(|| {
        let units = Tensor::f_eye(side * side, (Kind::Float, like.device()))?.f_view([1, side * side, side, side])?;
        let grids = units.f_upsample_bicubic2d([rows, columns], true, None, None)?;
        grids.f_view([side * side, rows * columns])?.f_transpose(0, 1)?.f_contiguous()
    })
}

impl Network for VisionTransformer {
    fn stage(&self, number: usize, input: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        if number == 0 {
            return self.embed(input);
        }
        self.layers[number - 1].forward(input)
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.norm.forward(&last.f_select(1, 0)?)
    }

    fn logits(&self, features: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.head.forward(features)
    }
}

/// Self-attention and two fully connected layers, each behind a normalisation and beside a shortcut.
#[derive(Debug)]
struct Layer {
    attention_norm: LayerNorm,
    projections: Linear,
    output: Linear,
    hidden_norm: LayerNorm,
    hidden: [Linear; 2],
}

impl Layer {
    fn new(prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        let attention = format!("{prefix}.self_attention");
        let linear = |name: &str| Linear::new(&format!("{prefix}.{name}"), parameters);
        Ok(Self {
            attention_norm: LayerNorm::new(&format!("{prefix}.ln_1"), EPSILON, parameters)?,
            projections: Linear::named(
                &format!("{attention}.in_proj_weight"),
                &format!("{attention}.in_proj_bias"),
                parameters,
            )?,
            output: linear("self_attention.out_proj")?,
            hidden_norm: LayerNorm::new(&format!("{prefix}.ln_2"), EPSILON, parameters)?,
            hidden: [linear("mlp.0")?, linear("mlp.3")?],
        })
    }

    fn forward(&self, input: &Tensor) -> tch::Result<Tensor> {
        let x = self.attention(&self.attention_norm.forward(input)?)?.f_add(input)?;
        let hidden = self.hidden[0].forward(&self.hidden_norm.forward(&x)?)?.f_gelu("none")?;
        self.hidden[1].forward(&hidden)?.f_add(&x)
    }

    fn attention(&self, x: &Tensor) -> tch::Result<Tensor> {
        let size = x.size();
        let (heads, width) = (i64::from(VitB16::HEADS), i64::from(VitB16::WIDTH));
        let split = self.projections.forward(x)?.f_view([size[0], size[1], 3, heads, width / heads])?;
        let split = split.f_permute([2, 0, 3, 1, 4])?;
        let [queries, keys, values] = [split.f_select(0, 0)?, split.f_select(0, 1)?, split.f_select(0, 2)?];
        let none: Option<&Tensor> = None;
        let mixed = Tensor::f_scaled_dot_product_attention(&queries, &keys, &values, none, 0.0, false, None, false)?;
        self.output.forward(&mixed.f_transpose(1, 2)?.f_reshape([size[0], size[1], width])?)
    }
}
