//! Update rules, written out over tensors so that their state can be saved.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::Optimizer;
use tch::Tensor;

use crate::error::LabError;

const ADAM_BETA_1: f64 = 0.9;
const ADAM_BETA_2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

/// What an optimiser remembers from step to step: one set of tensors in the order of the trained parameters.
#[derive(Debug)]
pub struct OptimizerState {
    rule: Optimizer,
    /// Momentum (SGD) or first moment (Adam).
    first: Vec<Tensor>,
    /// Second moment (Adam).
    second: Vec<Tensor>,
}

impl OptimizerState {
    /// The state before the first step.
    ///
    /// # Errors
    /// No memory.
    pub fn new(rule: &Optimizer, parameters: &[(String, Tensor)]) -> tch::Result<Self> {
        let zeros = || parameters.iter().map(|(_, p)| p.f_detach()?.f_zeros_like()).collect::<tch::Result<Vec<_>>>();
        let (first, second) = match rule {
            Optimizer::Sgd { .. } => (zeros()?, Vec::new()),
            Optimizer::Adam { .. } => (zeros()?, zeros()?),
        };
        Ok(Self { rule: rule.clone(), first, second })
    }

    /// Moves the parameters, each at its own learning rate. `step` is counted from 1.
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
        let moves = parameters.iter_mut().zip(gradients).zip(rates).enumerate();
        for (index, (((_, parameter), gradient), &rate)) in moves {
            match self.rule {
                Optimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
                    let rule = Sgd { rate, momentum, nesterov, weight_decay };
                    rule.step(parameter, gradient, &mut self.first[index])?;
                }
                Optimizer::Adam { weight_decay, .. } => {
                    let rule = Adam { rate, weight_decay, step };
                    rule.step(parameter, gradient, &mut self.first[index], &mut self.second[index])?;
                }
            }
        }
        Ok(())
    }

    /// Its tensors by name, for a checkpoint.
    pub fn tensors(&self, parameters: &[(String, Tensor)]) -> BTreeMap<String, Tensor> {
        let named = |slot: &'static str, tensors: &[Tensor]| -> Vec<(String, Tensor)> {
            let names = parameters.iter().map(move |(name, _)| format!("{slot}.{name}"));
            names.zip(tensors.iter().map(Tensor::shallow_clone)).collect()
        };
        named("first", &self.first).into_iter().chain(named("second", &self.second)).collect()
    }

    /// Takes its tensors over from a checkpoint.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore(
        &mut self,
        parameters: &[(String, Tensor)],
        saved: &BTreeMap<String, Tensor>,
    ) -> Result<(), LabError> {
        for (slot, tensors) in [("first", &mut self.first), ("second", &mut self.second)] {
            for (tensor, (name, _)) in tensors.iter_mut().zip(parameters) {
                let name = format!("{slot}.{name}");
                let found = saved.get(&name).filter(|found| found.size() == tensor.size());
                let found = found.ok_or_else(|| LabError::Defect(format!("the optimiser's `{name}` is missing")))?;
                tensor.f_copy_(found)?;
            }
        }
        Ok(())
    }
}

/// Stochastic gradient descent with momentum, in PyTorch's form: the momentum is not scaled by the learning rate, nothing is dampened.
struct Sgd {
    rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

impl Sgd {
    fn step(&self, parameter: &mut Tensor, gradient: &Tensor, velocity: &mut Tensor) -> tch::Result<()> {
        let mut direction = decayed(gradient, parameter, self.weight_decay)?;
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
    weight_decay: f64,
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
        let gradient = decayed(gradient, parameter, self.weight_decay)?;
        let _in_place = mean.f_lerp_(&gradient, 1.0 - ADAM_BETA_1)?;
        let _in_place =
            square.f_mul_scalar_(ADAM_BETA_2)?.f_add_(&gradient.f_square()?.f_mul_scalar(1.0 - ADAM_BETA_2)?)?;
        let steps = f64::from(self.step);
        let (bias_1, bias_2) = (1.0 - ADAM_BETA_1.powf(steps), 1.0 - ADAM_BETA_2.powf(steps));
        let spread = square.f_sqrt()?.f_div_scalar(bias_2.sqrt())?.f_add_scalar(ADAM_EPSILON)?;
        let _in_place = parameter.f_sub_(&mean.f_div(&spread)?.f_mul_scalar(self.rate / bias_1)?)?;
        Ok(())
    }
}

/// The gradient with the L2 penalty's added.
fn decayed(gradient: &Tensor, parameter: &Tensor, weight_decay: f64) -> tch::Result<Tensor> {
    if weight_decay == 0.0 {
        return Ok(gradient.shallow_clone());
    }
    gradient.f_add(&parameter.f_mul_scalar(weight_decay)?)
}
