//! Update rules, written out over tensors so that their state can be saved.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::Optimizer;
use tch::Tensor;

/// What an optimiser remembers from step to step: one set of tensors in the order of the trained parameters.
#[derive(Debug)]
pub struct OptimizerState {
    rule: Optimizer,
    /// Whether each parameter decays.
    decays: Vec<bool>,
    /// Momentum (SGD) or first moment (Adam).
    first: Vec<Tensor>,
    /// Second moment (Adam).
    second: Vec<Tensor>,
}

impl OptimizerState {
    /// The state before the first step. Unless `decay_norm_and_bias`, weight decay spares parameters of one dimension.
    ///
    /// # Errors
    /// No memory.
    pub fn new(rule: &Optimizer, decay_norm_and_bias: bool, parameters: &[(String, Tensor)]) -> tch::Result<Self> {
        let zeros = || parameters.iter().map(|(_, p)| p.f_detach()?.f_zeros_like()).collect::<tch::Result<Vec<_>>>();
        let (first, second) = match rule {
            Optimizer::Sgd { .. } => (zeros()?, Vec::new()),
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => (zeros()?, zeros()?),
        };
        let decays = parameters.iter().map(|(_, parameter)| decay_norm_and_bias || parameter.dim() > 1).collect();
        Ok(Self { rule: rule.clone(), decays, first, second })
    }

    /// Moves each parameter at its own learning rate. `step` is counted from 1, over the whole training.
    ///
    /// # Errors
    /// Gradients of other shapes; no memory.
    pub fn step(
        &mut self,
        parameters: &mut [(String, Tensor)],
        gradients: &[Tensor],
        rates: &[f64],
        step: u32,
    ) -> tch::Result<()> {
        let _guard = tch::no_grad_guard();
        let moved = parameters.iter_mut().zip(gradients).zip(rates);
        for (index, (((_, parameter), gradient), rate)) in moved.enumerate() {
            let rate = *rate;
            let decay = |weight_decay: f64| if self.decays[index] { weight_decay } else { 0.0 };
            match self.rule {
                Optimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
                    let rule = Sgd { rate, momentum, nesterov };
                    let gradient = decayed(gradient, parameter, decay(weight_decay))?;
                    rule.step(parameter, gradient, &mut self.first[index])?;
                }
                Optimizer::Adam { weight_decay, betas, epsilon, .. } => {
                    let rule = Adam { rate, betas, epsilon, step };
                    let gradient = decayed(gradient, parameter, decay(weight_decay))?;
                    rule.step(parameter, &gradient, &mut self.first[index], &mut self.second[index])?;
                }
                Optimizer::AdamW { weight_decay, betas, epsilon, .. } => {
                    let rule = Adam { rate, betas, epsilon, step };
                    let _in_place = parameter.f_mul_scalar_(1.0 - rate * decay(weight_decay))?;
                    rule.step(parameter, gradient, &mut self.first[index], &mut self.second[index])?;
                }
            }
        }
        Ok(())
    }

    /// Its tensors by name, for a checkpoint; they share its memory.
    pub fn tensors(&self, parameters: &[(String, Tensor)]) -> BTreeMap<String, Tensor> {
        let named = |slot: &'static str, tensors: &[Tensor]| -> Vec<(String, Tensor)> {
            let names = parameters.iter().map(move |(name, _)| format!("{slot}.{name}"));
            names.zip(tensors.iter().map(Tensor::shallow_clone)).collect()
        };
        named("first", &self.first).into_iter().chain(named("second", &self.second)).collect()
    }
}

/// Stochastic gradient descent with momentum, in PyTorch's form: the momentum is not scaled by the learning rate, nothing is dampened.
struct Sgd {
    rate: f64,
    momentum: f64,
    nesterov: bool,
}

impl Sgd {
    fn step(&self, parameter: &mut Tensor, gradient: Tensor, velocity: &mut Tensor) -> tch::Result<()> {
        let mut direction = gradient;
        if self.momentum > 0.0 {
            let _in_place = velocity.f_mul_scalar_(self.momentum)?.f_add_(&direction)?;
            direction = if self.nesterov {
                direction.f_add(&velocity.f_mul_scalar(self.momentum)?)?
            } else {
                velocity.shallow_clone()
            };
        }
        let _in_place = parameter.f_sub_(&direction.f_mul_scalar(self.rate)?)?;
        Ok(())
    }
}

/// Adam (Kingma & Ba 2015, arXiv 1412.6980), in PyTorch's form.
struct Adam {
    rate: f64,
    betas: [f64; 2],
    epsilon: f64,
    step: u32,
}

impl Adam {
    fn step(
        &self,
        parameter: &mut Tensor,
        gradient: &Tensor,
        mean: &mut Tensor,
        square: &mut Tensor,
    ) -> tch::Result<()> {
        let [beta_1, beta_2] = self.betas;
        let _in_place = mean.f_lerp_(gradient, 1.0 - beta_1)?;
        let _in_place = square.f_mul_scalar_(beta_2)?.f_add_(&gradient.f_square()?.f_mul_scalar(1.0 - beta_2)?)?;
        let steps = f64::from(self.step);
        let (bias_1, bias_2) = (1.0 - beta_1.powf(steps), 1.0 - beta_2.powf(steps));
        let spread = square.f_sqrt()?.f_div_scalar(bias_2.sqrt())?.f_add_scalar(self.epsilon)?;
        let _in_place = parameter.f_sub_(&mean.f_div(&spread)?.f_mul_scalar(self.rate / bias_1)?)?;
        Ok(())
    }
}

/// Scales gradients down in place so that the L2 norm of all of them together is at most `largest`, as PyTorch's `clip_grad_norm_`.
///
/// # Errors
/// No memory.
pub fn clip(gradients: &mut [Tensor], largest: f64) -> tch::Result<()> {
    let norms = gradients.iter().map(Tensor::f_norm).collect::<tch::Result<Vec<_>>>()?;
    if norms.is_empty() {
        return Ok(());
    }
    let norm = Tensor::f_stack(&norms, 0)?.f_norm()?;
    let scale = (norm + 1e-6).f_reciprocal()?.f_mul_scalar(largest)?.f_clamp_max(1.0)?;
    for gradient in gradients {
        *gradient = gradient.f_mul(&scale)?;
    }
    Ok(())
}

/// The gradient with the L2 penalty's added.
fn decayed(gradient: &Tensor, parameter: &Tensor, weight_decay: f64) -> tch::Result<Tensor> {
    if weight_decay == 0.0 {
        return Ok(gradient.shallow_clone());
    }
    gradient.f_add(&parameter.f_mul_scalar(weight_decay)?)
}
