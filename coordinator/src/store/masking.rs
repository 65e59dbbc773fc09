//! Signs of masked gradients.

use gauntlet_domain::masking::{MaskingSign, MaskingWarning};

use super::rows::{corrupt, unsigned};
use super::{Error, Store};

impl Store {
    /// What speaks for masked gradients in the results of a sweep, in the order of the view `masking_warnings`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn masking_warnings(&self, sweep: &str) -> Result<Vec<MaskingWarning>, Error> {
        let rows = sqlx::query!(
            r#"select sweep as "sweep!", dataset as "dataset!", backbone as "backbone!", init as "init!", recipe as "recipe!",
                seed as "seed!", kind as "kind!", attack as "attack!", norm as "norm!", eps as "eps!", other_attack, other_eps,
                examples as "examples!", attacked as "attacked!", fooled_by_other_alone, fooled_by_attack_alone, p_value,
                zero_gradient_examples
            from masking_warnings where sweep = $1"#,
            sweep
        );
        let mut warnings = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            let kind = MaskingSign::from_name(&row.kind)
                .ok_or_else(|| corrupt(format_args!("the sign of masked gradients `{}`", row.kind)))?;
            let count = |count: Option<i64>| count.map(unsigned::<u64, i64>).transpose();
            warnings.push(MaskingWarning {
                sweep: row.sweep,
                dataset: row.dataset,
                backbone: row.backbone,
                init: row.init,
                recipe: row.recipe,
                seed: unsigned(row.seed)?,
                kind,
                attack: row.attack,
                norm: row.norm,
                eps: row.eps,
                other_attack: row.other_attack,
                other_eps: row.other_eps,
                examples: unsigned(row.examples)?,
                attacked: unsigned(row.attacked)?,
                fooled_by_other_alone: count(row.fooled_by_other_alone)?,
                fooled_by_attack_alone: count(row.fooled_by_attack_alone)?,
                p_value: row.p_value,
                zero_gradient_examples: count(row.zero_gradient_examples)?,
            });
        }
        Ok(warnings)
    }
}
