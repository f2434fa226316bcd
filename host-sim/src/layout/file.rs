//! A layout as a file: `ripple derive --model` writes it, `ripple pack --plan` takes it.

use super::Layout;
use crate::predictor::PredictorChoice;
use anyhow::{Context, Result, ensure};
use ripple_kernel::image::SectionKind;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the packer needs of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayoutFile {
    /// The model that it was derived for.
    pub model: String,
    /// The board.
    pub board: String,
    /// Whether the rows that the predictor has are left out of the bundles.
    pub first_row_apart: bool,
    /// The sections in their order.
    pub order: Vec<String>,
}

impl LayoutFile {
    /// A layout of `model` for `board`.
    pub fn new(layout: &Layout, model: &str, board: &str) -> Self {
        Self {
            model: model.to_owned(),
            board: board.to_owned(),
            first_row_apart: layout.records.first_apart,
            order: layout.front.order.iter().map(|kind| kind.name().to_owned()).collect(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Names the file, what was expected and what was found.
    pub fn read(path: &Path, model: &str) -> Result<Self> {
        let name = || path.display().to_string();
        let bytes = std::fs::read(path).with_context(name)?;
        let file: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!("{}: expected a plan of `ripple derive --model`", path.display())
        })?;
        ensure!(
            file.model == model,
            "{}: a plan for `{}`, not for `{model}`; derive one for this model",
            path.display(),
            file.model
        );
        file.order().with_context(name)?;
        Ok(file)
    }

    /// The sections.
    ///
    /// # Errors
    /// Names a section that there is not, or one that is missing or there twice.
    pub fn order(&self) -> Result<Vec<SectionKind>> {
        let known = |name: &String| {
            let found = SectionKind::ALL.into_iter().find(|kind| kind.name() == name);
            found.with_context(|| {
                let names: Vec<&str> = SectionKind::ALL.iter().map(|kind| kind.name()).collect();
                format!("section `{name}`: expected one of {}", names.join(", "))
            })
        };
        let order: Vec<SectionKind> = self.order.iter().map(known).collect::<Result<_>>()?;
        for kind in SectionKind::ALL {
            let found = order.iter().filter(|other| **other == kind).count();
            ensure!(found == 1, "section `{kind}`: expected once, found {found} times");
        }
        Ok(order)
    }

    /// How active neurons are found.
    pub fn predictor(&self) -> PredictorChoice {
        if self.first_row_apart {
            PredictorChoice::Exact
        } else {
            PredictorChoice::ExactFullBundles
        }
    }
}
