//! Results, a page at a time: a slow reader holds no transaction open.

use gauntlet_domain::experiment::Outcomes;
use gauntlet_domain::results::ResultRow;

use super::rows::{corrupt, unsigned};
use super::{Error, Store};

/// Some rows of the results of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultPage {
    /// In the order of the view `results`.
    pub rows: Vec<ResultRow>,
    /// Position of the last one; none at the end.
    pub last: Option<i32>,
}

/// A row of the results with the outcomes of its examples.
#[derive(Debug, Clone, PartialEq)]
pub struct CellOutcomes {
    /// Its position in the sweep.
    pub position: i32,
    /// The row.
    pub row: ResultRow,
    /// Its outcomes.
    pub outcomes: Outcomes,
}

struct CellRow {
    sweep_id: String,
    position: i32,
    dataset: String,
    backbone: String,
    init: String,
    recipe: String,
    seed: i64,
    attack: String,
    norm: String,
    eps: String,
    examples: i32,
    clean_correct: i32,
    robust_correct: i32,
    aoi: f64,
    aai: f64,
    decline_ratio: Option<f64>,
    aai_low: f64,
    aai_high: f64,
    stop_at_interval: Option<f64>,
    examples_asked: i32,
}

impl TryFrom<CellRow> for ResultRow {
    type Error = Error;

    fn try_from(row: CellRow) -> Result<Self, Error> {
        Ok(Self {
            sweep: row.sweep_id,
            dataset: row.dataset,
            backbone: row.backbone,
            init: row.init,
            recipe: row.recipe,
            seed: unsigned(row.seed)?,
            attack: row.attack,
            norm: row.norm,
            eps: row.eps,
            examples: unsigned(row.examples)?,
            clean_correct: unsigned(row.clean_correct)?,
            robust_correct: unsigned(row.robust_correct)?,
            aoi: row.aoi,
            aai: row.aai,
            decline_ratio: row.decline_ratio,
            aai_low: row.aai_low,
            aai_high: row.aai_high,
            stop_at_interval: row.stop_at_interval,
            examples_asked: unsigned(row.examples_asked)?,
        })
    }
}

impl Store {
    /// At most `limit` rows of the results of a sweep behind a position.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn results_after(&self, sweep: &str, position: Option<i32>, limit: i64) -> Result<ResultPage, Error> {
        let rows = sqlx::query_as!(
            CellRow,
            r#"select sweep_id as "sweep_id!", position as "position!", dataset as "dataset!", backbone as "backbone!", init as "init!",
                recipe as "recipe!", seed as "seed!", attack as "attack!", norm as "norm!", eps as "eps!", examples as "examples!",
                clean_correct as "clean_correct!", robust_correct as "robust_correct!", aoi as "aoi!", aai as "aai!", decline_ratio,
                aai_low as "aai_low!", aai_high as "aai_high!", stop_at_interval, examples_asked as "examples_asked!"
            from cell_results
            where sweep_id = $1 and position > $2
            order by position
            limit $3"#,
            sweep,
            position.unwrap_or(-1),
            limit
        );
        let rows = rows.fetch_all(&self.pool).await?;
        let last = rows.last().map(|row| row.position);
        Ok(ResultPage { rows: rows.into_iter().map(ResultRow::try_from).collect::<Result<_, _>>()?, last })
    }

    /// The outcomes of the first row of the results of a sweep behind a position; none at the end.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn outcomes_after(&self, sweep: &str, position: Option<i32>) -> Result<Option<CellOutcomes>, Error> {
        let ResultPage { mut rows, last } = self.results_after(sweep, position, 1).await?;
        let (Some(row), Some(position)) = (rows.pop(), last) else { return Ok(None) };
        let arrays = sqlx::query!(
            r#"select r.label, r.clean_prediction, r.adversarial_prediction, r.clean_loss, r.adversarial_loss, r.distance,
                case when r.minimum_norm then c.eps_value end as read_at
            from sweep_cells c join attack_results r on r.task_id = c.attack_task_id
            where c.sweep_id = $1 and c.position = $2"#,
            sweep,
            position
        );
        // The sweep may have been deleted since.
        let Some(arrays) = arrays.fetch_optional(&self.pool).await? else { return Ok(None) };
        let outcomes = Outcomes {
            label: classes(arrays.label)?,
            clean_prediction: classes(arrays.clean_prediction)?,
            adversarial_prediction: classes(arrays.adversarial_prediction)?,
            clean_loss: arrays.clean_loss,
            adversarial_loss: arrays.adversarial_loss,
            distance: arrays.distance,
        };
        outcomes.check(row.examples as usize).map_err(corrupt)?;
        let outcomes = match arrays.read_at {
            Some(eps) => outcomes.within(eps),
            None => outcomes,
        };
        Ok(Some(CellOutcomes { position, row, outcomes }))
    }
}

fn classes(values: Vec<i32>) -> Result<Vec<u32>, Error> {
    values.into_iter().map(unsigned).collect()
}
