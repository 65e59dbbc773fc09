//! What analyses came to, a page at a time, and the images that they left.

use gauntlet_domain::analyses::{AnalysisRow, ImageRow};

use super::rows::unsigned;
use super::{Error, Store};

/// Some rows of the analyses of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisPage {
    /// In the order of the view `analyses`.
    pub rows: Vec<AnalysisRow>,
    /// Position of the last one's analysis in the sweep, and its number in that; none at the end.
    pub last: Option<(i32, i32)>,
}

/// Images of one analysis of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// In the order of the view `images`; at least one.
    pub rows: Vec<ImageRow>,
    /// Position of the analysis in the sweep.
    pub position: i32,
}

impl Store {
    /// The images of the next analysis of a sweep, behind a position, that left some.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn images_after(&self, sweep: &str, position: Option<i32>) -> Result<Option<Images>, Error> {
        let rows = sqlx::query!(
            "select a.sweep_id, a.position, a.dataset, a.backbone, a.init, a.recipe, a.seed, a.analysis, a.against, i.name, i.png
            from sweep_analyses a join analysis_images i using (task_id)
            where a.sweep_id = $1 and a.position = (
                select b.position from sweep_analyses b
                where b.sweep_id = $1 and b.position > $2 and exists (select from analysis_images j where j.task_id = b.task_id)
                order by b.position
                limit 1)
            order by i.number",
            sweep,
            position.unwrap_or(-1)
        );
        let rows = rows.fetch_all(&self.pool).await?;
        let Some(position) = rows.first().map(|row| row.position) else { return Ok(None) };
        let mut images = Images { rows: Vec::with_capacity(rows.len()), position };
        for row in rows {
            images.rows.push(ImageRow {
                sweep: row.sweep_id,
                dataset: row.dataset,
                backbone: row.backbone,
                init: row.init,
                recipe: row.recipe,
                seed: unsigned(row.seed)?,
                analysis: row.analysis,
                against: row.against,
                image: row.name,
                png: row.png,
            });
        }
        Ok(Some(images))
    }

    /// At most `limit` rows of the analyses of a sweep behind a place.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn analyses_after(
        &self,
        sweep: &str,
        place: Option<(i32, i32)>,
        limit: i64,
    ) -> Result<AnalysisPage, Error> {
        let (position, number) = place.unwrap_or((-1, -1));
        let rows = sqlx::query!(
            "select a.sweep_id, a.position, a.dataset, a.backbone, a.init, a.recipe, a.seed, a.analysis, a.method, a.against, a.examples,
                v.number, v.measure, v.layer, v.x, v.value
            from sweep_analyses a join analysis_values v using (task_id)
            where a.sweep_id = $1 and (a.position, v.number) > ($2, $3)
            order by a.position, v.number
            limit $4",
            sweep,
            position,
            number,
            limit
        );
        let rows = rows.fetch_all(&self.pool).await?;
        let last = rows.last().map(|row| (row.position, row.number));
        let mut page = AnalysisPage { rows: Vec::with_capacity(rows.len()), last };
        for row in rows {
            page.rows.push(AnalysisRow {
                sweep: row.sweep_id,
                dataset: row.dataset,
                backbone: row.backbone,
                init: row.init,
                recipe: row.recipe,
                seed: unsigned(row.seed)?,
                analysis: row.analysis,
                method: row.method,
                against: row.against,
                examples: unsigned(row.examples)?,
                measure: row.measure,
                layer: row.layer,
                x: row.x,
                value: row.value,
            });
        }
        Ok(page)
    }
}
