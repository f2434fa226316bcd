//! Many rows as few numbers: how much more card time each policy takes than ours, over all models.
//!
//! In: rows. Out: [`Summary`], one for each card and cache size. Knows nothing of how it is shown.

use super::Row;
use super::policy::Policy;
use serde::Serialize;

/// The policy that the others are compared with.
pub const OURS: &str = "ours";
/// The published policy that speed-ups are given against.
pub const BASELINE: &str = "llm-in-a-flash";

/// Geometric means over the models of one card and one cache size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the card preset.
    pub preset: String,
    /// Neuron cache, as a share of the FFN's bytes.
    pub cache_ratio: f64,
    /// Models that the means are over.
    pub models: usize,
    /// Card time of [`OURS`] over the floor.
    pub ours_over_floor: Option<f64>,
    /// Card time of the best rival of each model over that of [`OURS`]: what there is to gain over the
    /// strongest of the policies that are not ours.
    pub best_rival: Option<f64>,
    /// The same on the model where it is least.
    pub best_rival_worst: Option<f64>,
    /// Card time of every other policy over that of [`OURS`], in the order of the rows. Nothing
    /// where it was not run for each of the models, or one of the times is 0.
    pub over_ours: Vec<(String, Option<f64>)>,
}

impl Summary {
    /// Summaries of all cards and cache sizes, in the order of the rows.
    pub fn of(rows: &[Row]) -> Vec<Self> {
        let mut summaries = Vec::new();
        for preset in distinct(rows, |row| row.preset.as_str()) {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.preset == preset).collect();
            for cache_ratio in ratios(rows.iter().copied()) {
                let rows: Vec<&Row> =
                    rows.iter().copied().filter(|row| row.cache_ratio == cache_ratio).collect();
                summaries.push(Self::of_group(preset, cache_ratio, &rows));
            }
        }
        summaries
    }

    fn of_group(preset: &str, cache_ratio: f64, rows: &[&Row]) -> Self {
        let models = distinct(rows.iter().copied(), |row| row.model.as_str());
        let ours = |model: &str| find(rows, model, OURS);
        let over_ours = |policy: &str| {
            geometric_mean(
                models
                    .iter()
                    .map(|model| Some(find(rows, model, policy)?.io_ms / ours(model)?.io_ms)),
            )
        };
        let is_rival = |row: &&&Row| Policy::RIVALS.iter().any(|rival| rival.name == row.policy);
        let best_rival = |model: &&str| {
            let rivals = rows.iter().filter(|row| row.model == *model).filter(is_rival);
            let best = rivals.map(|row| row.io_ms).min_by(f64::total_cmp)?;
            Some(best / ours(model)?.io_ms)
        };
        let policies = distinct(rows.iter().copied(), |row| row.policy.as_str());
        let others = policies.into_iter().filter(|policy| *policy != OURS);
        Self {
            preset: preset.to_owned(),
            cache_ratio,
            models: models.len(),
            ours_over_floor: geometric_mean(
                models.iter().map(|model| ours(model).map(|row| row.io_ms / row.floor_ms)),
            ),
            best_rival: geometric_mean(models.iter().map(best_rival)),
            best_rival_worst: models
                .iter()
                .map(best_rival)
                .reduce(|a, b| Some(a?.min(b?)))
                .flatten()
                .filter(|least| least.is_finite()),
            over_ours: others.map(|policy| (policy.to_owned(), over_ours(policy))).collect(),
        }
    }

    /// Card time of `policy` over that of [`OURS`].
    pub fn over_ours(&self, policy: &str) -> Option<f64> {
        self.over_ours.iter().find(|(name, _)| name == policy)?.1
    }
}

/// The row of `policy` for `model`.
pub(super) fn find<'r>(rows: &[&'r Row], model: &str, policy: &str) -> Option<&'r Row> {
    rows.iter().copied().find(|row| row.model == model && row.policy == policy)
}

/// The names that `of` gives, each once, in the order of the rows.
pub(super) fn distinct<'r>(
    rows: impl IntoIterator<Item = &'r Row>,
    of: impl Fn(&'r Row) -> &'r str,
) -> Vec<&'r str> {
    let mut names = Vec::new();
    for name in rows.into_iter().map(of) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The rows of one card, model by model and each by cache size, in the order of the rows.
pub(super) fn groups<'r>(rows: &'r [Row], preset: &str) -> Vec<Vec<&'r Row>> {
    let here: Vec<&Row> = rows.iter().filter(|row| row.preset == preset).collect();
    let mut groups = Vec::new();
    for model in distinct(here.iter().copied(), |row| row.model.as_str()) {
        for ratio in ratios(here.iter().copied()) {
            let inside = |row: &&Row| row.model == model && row.cache_ratio == ratio;
            let group: Vec<&Row> = here.iter().copied().filter(inside).collect();
            groups.extend((!group.is_empty()).then_some(group));
        }
    }
    groups
}

/// The cache sizes, each once, in the order of the rows.
fn ratios<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Vec<f64> {
    let mut ratios = Vec::new();
    for ratio in rows.into_iter().map(|row| row.cache_ratio) {
        if !ratios.contains(&ratio) {
            ratios.push(ratio);
        }
    }
    ratios
}

/// The policies that some summary compares with ours, each once.
pub(super) fn compared<'s>(summaries: &[&'s Summary]) -> Vec<&'s str> {
    let mut policies = Vec::new();
    for (policy, _) in summaries.iter().flat_map(|summary| &summary.over_ours) {
        if !policies.contains(&policy.as_str()) {
            policies.push(policy.as_str());
        }
    }
    policies
}

/// What the numbers of a summary are, in words.
pub(super) fn of_models(summary: &Summary) -> String {
    match summary.models {
        1 => "of 1 model".to_owned(),
        models => format!("geometric mean over {models} models"),
    }
}

/// `(x1 * .. * xn)^(1/n)`; nothing without numbers, or where one is missing, 0 or not finite.
pub fn geometric_mean(numbers: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (mut logs, mut count) = (0.0, 0);
    for number in numbers {
        logs += number.filter(|x| x.is_finite() && *x > 0.0)?.ln();
        count += 1;
    }
    (count > 0).then(|| (logs / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::geometric_mean;

    #[test]
    fn a_geometric_mean_is_the_root_of_the_product() {
        let mean = |numbers: &[f64]| geometric_mean(numbers.iter().copied().map(Some));
        assert!((mean(&[2.0, 8.0]).unwrap() - 4.0).abs() < 1e-12);
        assert!((mean(&[0.5, 2.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, 0.0]), None);
        assert_eq!(mean(&[1.0, f64::INFINITY]), None);
        assert_eq!(geometric_mean([Some(1.0), None].into_iter()), None);
    }
}
