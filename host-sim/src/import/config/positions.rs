//! Positions in `config.json`: rotary ones in the spellings of transformers 4 and 5, and windows.
//!
//! In: the fields. Out: [`Rope`], or why it cannot be followed.

use super::fields::Fields;
use crate::import::rope::{Rope, Scaling, yarn_gain};
use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// Rotary parameters: of `rope_parameters` or `rope_scaling`, and where they were.
struct Written<'f> {
    fields: &'f Fields,
    place: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Rotary positions of heads of `head_dim`, `turned` of which is turned where nothing is said.
    /// `positions`: as many as the checkpoint has. `within`: as many as are used.
    pub(super) fn rope(
        &self,
        head_dim: u32,
        turned: f32,
        positions: u32,
        within: u32,
    ) -> Result<Rope> {
        let written = self.rope_written()?;
        let theta = match written.number("rope_theta")? {
            Some(theta) => theta as f32,
            None => self.number("rope_theta", 10000.0)?,
        };
        self.pass(&["rope_theta", "partial_rotary_factor"]);
        if !(theta > 1.0 && theta.is_finite()) {
            bail!(self.unsupported("rope_theta", &theta.to_string(), "a number above 1"));
        }
        let part = match written.number("partial_rotary_factor")? {
            Some(part) => part as f32,
            None => self.number("partial_rotary_factor", turned)?,
        };
        let turned = (head_dim as f32 * part) as u32;
        if !(part > 0.0 && part <= 1.0) || turned == 0 || !turned.is_multiple_of(2) {
            let expected = "a part of the head that is a whole number of pairs";
            bail!(self.unsupported("partial_rotary_factor", &part.to_string(), expected));
        }
        let scaling = written.scaling(turned, f64::from(positions), f64::from(within))?;
        Ok(Rope { theta, turned, scaling })
    }

    /// The parameters, of all layers alike.
    fn rope_written(&self) -> Result<Written<'_>> {
        let mut found = Written { fields: self, place: "rope_scaling".to_owned(), map: Map::new() };
        for field in ["rope_parameters", "rope_scaling"] {
            let Some(value) = self.get(field) else { continue };
            let Some(map) = value.as_object() else { bail!(self.wrong(field, value, "an object")) };
            let (place, map) = self.of_all_layers(field, map)?;
            if !found.map.is_empty() && found.map != *map {
                bail!(self.wrong(field, value, "the same as `rope_parameters`, or one of the two"));
            }
            found = Written { fields: self, place, map: map.clone() };
        }
        Ok(found)
    }

    /// Those of full attention, where they are by the type of a layer and all layers are of that.
    fn of_all_layers<'m>(
        &self,
        field: &str,
        map: &'m Map<String, Value>,
    ) -> Result<(String, &'m Map<String, Value>)> {
        let Some((name, nested)) = map.iter().find(|(_, value)| value.is_object()) else {
            return Ok((field.to_owned(), map));
        };
        let full = "full_attention";
        let layers = self.get("layer_types").and_then(Value::as_array);
        let all_full = layers.is_none_or(|layers| layers.iter().all(|layer| layer == full));
        match map.get(full).and_then(Value::as_object) {
            Some(map) if all_full => Ok((format!("{field}.{full}"), map)),
            _ => bail!(self.wrong(
                &format!("{field}.{name}"),
                nested,
                "parameters of `full_attention`, and no other layers: rotary positions by the type of a \
                 layer are not supported"
            )),
        }
    }

    /// A window that holds all positions that are used changes nothing; a smaller one does. `default`, `slides`:
    /// the window, and whether it is used, where nothing is said.
    pub(super) fn refuse_window(
        &self,
        default: Option<u32>,
        slides: bool,
        within: u32,
    ) -> Result<()> {
        let kinds = self.get("layer_types").and_then(Value::as_array);
        let known = ["full_attention", "sliding_attention"];
        if let Some(kind) = kinds
            .and_then(|kinds| kinds.iter().find(|kind| !known.iter().any(|known| *kind == known)))
        {
            bail!(self.wrong(
                "layer_types",
                kind,
                "full_attention or sliding_attention in every layer"
            ));
        }
        self.pass(&["max_window_layers"]);
        let used = self.flag("use_sliding_window", slides)?;
        let window = match self.has("sliding_window") {
            false => default,
            true => self.whole("sliding_window")?,
        };
        let slides = kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind == "sliding_attention"));
        if let Some(window) = window.filter(|&window| window < within && used && slides) {
            bail!(
                "{}: `sliding_window` is {window}, expected {within} or more, as many positions as are used: \
                 attention over a window is not supported; import with --context {window} to use the model \
                 within it",
                self.path.display()
            );
        }
        Ok(())
    }
}

impl Written<'_> {
    fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.map.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => bail!(self.fields.wrong(&format!("{}.{name}", self.place), value, "a number")),
        }
    }

    fn required(&self, name: &str) -> Result<f64> {
        match self.number(name)?.filter(|number| *number > 0.0) {
            Some(number) => Ok(number),
            None => {
                let name = format!("{}.{name}", self.place);
                bail!(self.fields.missing(&name, "a number above 0"))
            }
        }
    }

    fn list(&self, name: &str, count: usize) -> Result<Vec<f64>> {
        let value = self.map.get(name).unwrap_or(&Value::Null);
        let list: Option<Vec<f64>> =
            value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
        match list.filter(|list| list.len() == count && list.iter().all(|factor| *factor > 0.0)) {
            Some(list) => Ok(list),
            None => bail!(self.fields.wrong(
                &format!("{}.{name}", self.place),
                value,
                &format!("{count} numbers above 0")
            )),
        }
    }

    fn scaling(&self, turned: u32, positions: f64, within: f64) -> Result<Scaling> {
        let kind = self.map.get("rope_type").or_else(|| self.map.get("type"));
        let original = || -> Result<f64> {
            let written = self.number("original_max_position_embeddings")?;
            Ok(written.unwrap_or(positions))
        };
        Ok(match kind.and_then(Value::as_str) {
            None if kind.is_none() && !self.map.contains_key("factor") => Scaling::None,
            Some("default") => Scaling::None,
            Some("linear") => Scaling::Linear { factor: self.required("factor")? },
            // It begins beyond the positions that the checkpoint has.
            Some("dynamic") => {
                self.required("factor")?;
                let original = original()?;
                if within > original {
                    bail!(
                        "{}: `{}.rope_type` is dynamic, whose frequencies change with the length beyond \
                         {original} positions, which is not supported; import with --context {original}",
                        self.fields.path.display(),
                        self.place
                    );
                }
                Scaling::None
            }
            Some("llama3") => Scaling::Llama3 {
                factor: self.required("factor")?,
                low: self.required("low_freq_factor")?,
                high: self.required("high_freq_factor")?,
                original: self.required("original_max_position_embeddings")?,
            },
            Some("yarn") => {
                let factor = self.required("factor")?;
                let (m, all) = (self.number("mscale")?, self.number("mscale_all_dim")?);
                let of_factor = match (m, all) {
                    (Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
                        yarn_gain(factor, m) / yarn_gain(factor, all)
                    }
                    _ => yarn_gain(factor, 1.0),
                };
                Scaling::Yarn {
                    factor,
                    fast: self.number("beta_fast")?.filter(|n| *n != 0.0).unwrap_or(32.0),
                    slow: self.number("beta_slow")?.filter(|n| *n != 0.0).unwrap_or(1.0),
                    original: original()?,
                    gain: self.number("attention_factor")?.unwrap_or(of_factor),
                    whole: self.map.get("truncate") != Some(&Value::Bool(false)),
                }
            }
            Some("longrope") => {
                let beside = self.fields.whole("original_max_position_embeddings")?.map(f64::from);
                let written = self.number("original_max_position_embeddings")?.or(beside);
                let original = written.unwrap_or(positions);
                if within > original {
                    bail!(
                        "{}: `{}.rope_type` is longrope, whose frequencies change beyond {original} positions, \
                         which is not supported; import with --context {original}",
                        self.fields.path.display(),
                        self.place
                    );
                }
                let factor = match written {
                    Some(original) => positions / original,
                    None => self.number("factor")?.unwrap_or(1.0),
                };
                let of_factor = match factor > 1.0 {
                    true => (1.0 + factor.ln() / original.ln()).sqrt(),
                    false => 1.0,
                };
                Scaling::Factors {
                    factors: self.list("short_factor", turned as usize / 2)?,
                    gain: self.number("attention_factor")?.unwrap_or(of_factor),
                }
            }
            _ => bail!(self.fields.unsupported(
                &format!("{}.rope_type", self.place),
                &kind.unwrap_or(&Value::Null).to_string(),
                "default, linear, dynamic, llama3, yarn, longrope"
            )),
        })
    }
}
