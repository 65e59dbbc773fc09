//! The losses of training steps, as functions of what the network gave.

use tch::{Kind, Reduction, Tensor};

/// Keeps MART's logarithms finite, as in its published code.
const MART_MARGIN: f64 = 1.0001;
const MART_TINY: f64 = 1e-12;
const MART_WEIGHT: f64 = 1.000_000_1;

/// Mean cross-entropy of logits, f32 \[n,classes\], against labels, i64 \[n\]; a share `smoothing` of each label is spread evenly over all classes.
///
/// # Errors
/// No memory.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> tch::Result<Tensor> {
    logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, smoothing)
}

/// CE(clean, labels) + `beta` · KL(p(target) ‖ p(adversarial)), the divergence averaged over the images (TRADES, arXiv 1901.08573). `target` are logits
/// of the clean images again: the published code asks for them twice. All f32 \[n,classes\].
///
/// # Errors
/// No memory.
pub fn trades(
    [clean, adversarial, target]: [&Tensor; 3],
    labels: &Tensor,
    beta: f64,
    smoothing: f64,
) -> tch::Result<Tensor> {
    let count = clean.size()[0] as f64;
    let target = target.f_softmax(1, Kind::Float)?;
    let divergence = adversarial.f_log_softmax(1, Kind::Float)?.f_kl_div(&target, Reduction::Sum, false)?;
    cross_entropy(clean, labels, smoothing)?.f_add(&divergence.f_mul_scalar(beta / count)?)
}

/// BCE(p(adversarial), labels) + `lambda` · KL(p(clean) ‖ p(adversarial)) · (1 − p(clean) of the label), averaged over the images (MART, Wang et al. 2020,
/// with the small constants of its published code). Logits are f32 \[n,classes\], labels i64 \[n\].
///
/// # Errors
/// No memory.
pub fn mart([clean, adversarial]: [&Tensor; 2], labels: &Tensor, lambda: f64, smoothing: f64) -> tch::Result<Tensor> {
    let [clean, probabilities] = [clean.f_softmax(1, Kind::Float)?, adversarial.f_softmax(1, Kind::Float)?];
    let (_, likeliest) = probabilities.f_detach()?.f_topk(2, 1, true, true)?;
    let (first, second) = (likeliest.f_select(1, 0)?, likeliest.f_select(1, 1)?);
    let wrong = second.f_where_self(&first.f_eq_tensor(labels)?, &first)?;
    let of_class = |probabilities: &Tensor, class: &Tensor| -> tch::Result<Tensor> {
        probabilities.f_gather(1, &class.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)
    };
    let margin = of_class(&probabilities, &wrong)?.f_neg()?.f_add_scalar(MART_MARGIN)?.f_add_scalar(MART_TINY)?;
    let boosted = cross_entropy(adversarial, labels, smoothing)?.f_sub(&margin.f_log()?.f_mean(Kind::Float)?)?;
    let log_adversarial = probabilities.f_add_scalar(MART_TINY)?.f_log()?;
    let divergence = log_adversarial.f_kl_div(&clean, Reduction::None, false)?;
    let divergence = divergence.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
    let weight = of_class(&clean, labels)?.f_neg()?.f_add_scalar(MART_WEIGHT)?;
    boosted.f_add(&divergence.f_mul(&weight)?.f_mean(Kind::Float)?.f_mul_scalar(lambda)?)
}

/// CE(logits, labels) + `coefficient` · mean over batch and dimension of (perturbed − clean)², the features f32 \[n,F\] (arXiv 2106.10989). The gradient
/// flows through both features.
///
/// # Errors
/// No memory.
pub fn discrepancy(
    logits: &Tensor,
    [clean, perturbed]: [&Tensor; 2],
    labels: &Tensor,
    coefficient: f64,
    smoothing: f64,
) -> tch::Result<Tensor> {
    let distance = perturbed.f_mse_loss(clean, Reduction::Mean)?;
    cross_entropy(logits, labels, smoothing)?.f_add(&distance.f_mul_scalar(coefficient)?)
}
