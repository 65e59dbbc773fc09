//! Signs of masked gradients.

use gauntlet_domain::masking::{MaskingSign, MaskingWarning};

use super::InvalidField;
use crate::v1;

impl From<MaskingWarning> for v1::MaskingWarning {
    fn from(warning: MaskingWarning) -> Self {
        let MaskingWarning {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            kind,
            attack,
            norm,
            eps,
            other_attack,
            other_eps,
            examples,
            attacked,
            fooled_by_other_alone,
            fooled_by_attack_alone,
            p_value,
            zero_gradient_examples,
        } = warning;
        let kind = kind.name().to_owned();
        Self {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            kind,
            attack,
            norm,
            eps,
            other_attack,
            other_eps,
            examples,
            attacked,
            fooled_by_other_alone,
            fooled_by_attack_alone,
            p_value,
            zero_gradient_examples,
        }
    }
}

impl TryFrom<v1::MaskingWarning> for MaskingWarning {
    type Error = InvalidField;

    fn try_from(wire: v1::MaskingWarning) -> Result<Self, InvalidField> {
        let v1::MaskingWarning {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            kind,
            attack,
            norm,
            eps,
            other_attack,
            other_eps,
            examples,
            attacked,
            fooled_by_other_alone,
            fooled_by_attack_alone,
            p_value,
            zero_gradient_examples,
        } = wire;
        let kind = MaskingSign::from_name(&kind)
            .ok_or_else(|| InvalidField::new("kind", format!("`{kind}` is no sign of masked gradients")))?;
        Ok(Self {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            kind,
            attack,
            norm,
            eps,
            other_attack,
            other_eps,
            examples,
            attacked,
            fooled_by_other_alone,
            fooled_by_attack_alone,
            p_value,
            zero_gradient_examples,
        })
    }
}
