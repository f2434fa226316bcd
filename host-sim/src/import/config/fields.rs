//! The fields of `config.json`, typed.
//!
//! In: a JSON object. Out: values, or a sentence that names the file, the field, what was expected and what
//! was found. Notes which fields were asked for. Knows nothing of families.

use crate::import::Options;
use crate::import::activation::{self, decide};
use crate::import::keys::CONFIG;
use anyhow::{Context, Result, anyhow, bail};
use ripple_kernel::config::Activation;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A JSON object that names its file and field in every error.
pub(super) struct Fields {
    pub path: PathBuf,
    map: Map<String, Value>,
    /// The activation that was said beside the file.
    said: Option<(Activation, f32)>,
    /// What was asked for.
    read: RefCell<BTreeSet<String>>,
}

impl Fields {
    pub fn new(path: &Path, map: Map<String, Value>, options: &Options<'_>) -> Self {
        Self { path: path.to_owned(), map, said: options.activation, read: RefCell::default() }
    }

    /// The value of `field`; `null` counts as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(field.to_owned());
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Whether `field` is there, if only as `null`.
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// Notes that fields are of no use to this model, whatever they say.
    pub fn pass(&self, fields: &[&str]) {
        self.read.borrow_mut().extend(fields.iter().map(|&field| field.to_owned()));
    }

    /// Refuses keys that are not known, or have values that are not followed.
    pub fn check_keys(&self, allowed: &[String]) -> Result<()> {
        CONFIG.check_object(&self.map, allowed).with_context(|| self.path.display().to_string())
    }

    /// Refuses what is there for a model of another architecture.
    pub fn refuse_unread(&self, architecture: &str, allowed: &[String]) -> Result<()> {
        let read = self.read.borrow();
        let left = self.map.iter().find(|(key, value)| {
            CONFIG.is_read(key)
                && !value.is_null()
                && !read.contains(*key)
                && !allowed.contains(key)
        });
        let Some((key, value)) = left else { return Ok(()) };
        bail!(
            "{}: `{key}` is {value}, which {architecture} does not have; if it changes nothing, import with \
             --allow-key {key}",
            self.path.display()
        )
    }

    pub fn missing(&self, field: &str, expected: &str) -> anyhow::Error {
        anyhow!(
            "{}: `{field}` is missing or null, expected {expected}; add it as the model was \
             trained",
            self.path.display()
        )
    }

    pub fn wrong(&self, field: &str, found: &Value, expected: &str) -> anyhow::Error {
        anyhow!("{}: `{field}` is {found}, expected {expected}", self.path.display())
    }

    pub fn unsupported(&self, field: &str, found: &str, supported: &str) -> anyhow::Error {
        anyhow!(
            "{}: `{field}` is {found}, which is not supported; supported: {supported}",
            self.path.display()
        )
    }

    pub fn whole(&self, field: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(field, value, "a whole number of 32 bits"))
    }

    pub fn required(&self, field: &str) -> Result<u32> {
        self.whole(field)?.ok_or_else(|| self.missing(field, "a whole number"))
    }

    pub fn number(&self, field: &str, default: f32) -> Result<f32> {
        let Some(value) = self.get(field) else { return Ok(default) };
        let number = value.as_f64().map(|number| number as f32).filter(|n| n.is_finite());
        number.ok_or_else(|| self.wrong(field, value, "a number"))
    }

    /// A number above 0, which must be there.
    pub fn positive(&self, field: &str) -> Result<f32> {
        let value = self.get(field).ok_or_else(|| self.missing(field, "a number above 0"))?;
        let number = value.as_f64().map(|number| number as f32);
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| self.wrong(field, value, "a number above 0"))
    }

    pub fn flag(&self, field: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(field, value, "true or false"))
    }

    /// Refuses `field` unless it is `needed`, which is also the default.
    pub fn only(&self, field: &str, needed: bool, why: &str) -> Result<()> {
        if self.flag(field, needed)? == needed {
            return Ok(());
        }
        bail!("{}: `{field}` is {}, expected {needed}: {why}", self.path.display(), !needed)
    }

    pub fn architecture(&self) -> Result<String> {
        let found = self.get("architectures").and_then(|list| list.get(0));
        let found = found.or_else(|| self.get("model_type")).and_then(Value::as_str);
        // Those that begin and end a text go with the tokenizer.
        self.pass(&["model_type", "bos_token_id", "eos_token_id"]);
        found
            .map(str::to_owned)
            .ok_or_else(|| self.missing("architectures", "a list such as [\"LlamaForCausalLM\"]"))
    }

    pub fn refuse_quantised(&self) -> Result<()> {
        if self.get("quantization_config").is_none() {
            return Ok(());
        }
        bail!(
            "{}: `quantization_config` is set: the weights are quantised; import the original \
             ones, they are quantised later, by `ripple pack`",
            self.path.display()
        )
    }

    /// What neurons do, and the threshold above which one is active: as the first of `fields` that is there
    /// says, or else `default`, or else the person.
    pub fn activation(
        &self,
        fields: &[&str],
        default: Option<Activation>,
    ) -> Result<(Activation, f32)> {
        let mut written = default.map(|activation| (activation, 0.0));
        let found = fields.iter().find_map(|field| Some((field, self.get(field)?)));
        if let Some((field, value)) = found {
            written = Some(self.named(field, value)?);
        }
        // An older spelling beside it says the same.
        self.pass(fields);
        decide(fields[0], written, self.said).with_context(|| self.path.display().to_string())
    }

    fn named(&self, field: &str, value: &Value) -> Result<(Activation, f32)> {
        let name = value.as_str().ok_or_else(|| self.wrong(field, value, "\"relu\""))?;
        // ProSparse's: x where x is above the threshold, else 0.
        if name == "fatrelu" {
            let param = "hidden_act_param";
            let threshold = self.number(param, f32::NAN)?;
            if threshold.is_nan() {
                bail!(self.missing(param, "the threshold of fatrelu"));
            }
            return Ok((Activation::Relu, threshold));
        }
        match activation::named(name) {
            Some(activation) => Ok((activation, 0.0)),
            None => bail!(self.unsupported(
                field,
                name,
                "relu, fatrelu, relu2, drelu; with --threshold: silu, gelu_pytorch_tanh"
            )),
        }
    }

    /// The width of a head, if it is not said.
    pub fn head_dim(&self, dim: u32, heads: u32) -> Result<u32> {
        if heads == 0 || !dim.is_multiple_of(heads) {
            bail!(
                "{}: `num_attention_heads` is {heads}, expected a divisor of `hidden_size`, {dim}, \
                 as there is no `head_dim`",
                self.path.display()
            );
        }
        Ok(dim / heads)
    }
}
