//! The pickle in a `pytorch_model.bin`: which tensors there are, and where.
//!
//! In: bytes of a pickle. Out: tensors by name. What a pickle may do here is build tuples, dictionaries and
//! tensors, and nothing else: every other function that it names is refused, by name, and none is called.
//! Knows nothing of the archive around it.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::rc::Rc;

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// Name of its storage in the archive.
    pub storage: String,
    /// `FloatStorage` and others.
    pub kind: String,
    /// First element in the storage.
    pub offset: usize,
    /// Rows first.
    pub shape: Vec<usize>,
    /// Elements from one to the next of each dimension.
    pub strides: Vec<usize>,
}

/// What a pickle builds. Tuples and dictionaries know how deep they are.
#[derive(Clone)]
enum Value {
    Nothing,
    Flag,
    Whole(i64),
    Text(Rc<str>),
    Tuple(u8, Rc<[Value]>),
    Dictionary(u8, Rc<Vec<(Value, Value)>>),
    Function(Rc<str>),
    Storage { name: Rc<str>, kind: Rc<str> },
    Tensor(Rc<Place>),
    Mark,
}

/// What weights need is not deeper: a dictionary of notes in a dictionary of them in that of the tensors.
const DEEPEST: u8 = 8;

const DICTIONARY: &str = "collections OrderedDict";
const TENSOR: &str = "torch._utils _rebuild_tensor_v2";
const PARAMETER: &str = "torch._utils _rebuild_parameter";

/// The tensors of the pickled dictionary in `bytes`, in its order.
///
/// # Errors
/// When it is anything but a dictionary of tensors, or has a name twice.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<(String, Place)>> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), memo: HashMap::new() };
    let mut entries = machine.run()?;
    // Of training programs: the weights, beside other things.
    if let Some((_, Value::Dictionary(_, inner))) =
        entries.iter().find(|(key, _)| matches!(key, Value::Text(name) if &**name == "state_dict"))
    {
        entries = inner.to_vec();
    }
    let mut found: Vec<(String, Place)> = Vec::new();
    for (key, value) in entries {
        match (key, value) {
            (Value::Text(name), Value::Tensor(place)) => {
                ensure!(
                    found.iter().all(|(other, _)| **other != *name),
                    "tensor `{name}` is there twice, expected once; save the model again"
                );
                found.push((name.to_string(), Place::clone(&place)));
            }
            (key, value) => bail!(
                "{} is {}, expected tensors by name and nothing else",
                key.shown(),
                value.shown()
            ),
        }
    }
    Ok(found)
}

impl Value {
    /// For messages: short, whatever it holds.
    fn shown(&self) -> String {
        match self {
            Self::Nothing => "None".to_owned(),
            Self::Flag => "a flag".to_owned(),
            Self::Whole(number) => number.to_string(),
            Self::Text(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Self::Tuple(_, list) => format!("a tuple of {}", list.len()),
            Self::Dictionary(_, entries) => format!("a dictionary of {}", entries.len()),
            Self::Function(name) => format!("`{name}`"),
            Self::Storage { name, .. } => format!("storage {name}"),
            Self::Tensor(place) => format!("a tensor of shape {:?}", place.shape),
            Self::Mark => "a mark".to_owned(),
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Self::Tuple(depth, _) | Self::Dictionary(depth, _) => *depth,
            _ => 0,
        }
    }

    /// A tuple, which can be dropped without a deep stack.
    fn tuple(values: Vec<Self>) -> Result<Self> {
        let depth = deeper(&values)?;
        Ok(Self::Tuple(depth, values.into()))
    }
}

/// The depth of what holds `values`.
fn deeper(values: &[Value]) -> Result<u8> {
    let depth = 1 + values.iter().map(Value::depth).max().unwrap_or(0);
    ensure!(
        depth <= DEEPEST,
        "tuples in tuples, deeper than weights need; save the model again as safetensors"
    );
    Ok(depth)
}

/// The stack machine of pickle, of which only what weights need is known.
struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Vec<(Value, Value)>> {
        loop {
            let at = self.at;
            let [code] = self.array()?;
            if code == b'.' {
                return match self.pop()? {
                    Value::Dictionary(_, entries) => Ok(entries.to_vec()),
                    other => {
                        bail!("a pickle of {}, expected a dictionary of tensors", other.shown())
                    }
                };
            }
            self.step(code).with_context(|| format!("pickle, byte {at}"))?;
        }
    }

    fn step(&mut self, code: u8) -> Result<()> {
        let value = match code {
            // Versions and frames.
            0x80 => return self.array::<1>().map(|_| ()),
            0x95 => return self.array::<8>().map(|_| ()),
            b'}' => Value::Dictionary(1, Rc::default()),
            b')' | b']' => Value::Tuple(1, Rc::from([])),
            b'(' => Value::Mark,
            b'N' => Value::Nothing,
            0x88 | 0x89 => Value::Flag,
            b'K' => Value::Whole(self.array::<1>()?[0].into()),
            b'M' => Value::Whole(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Whole(i32::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            0x8c => {
                let [length] = self.array()?;
                self.text(length.into())?
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length as usize)?
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.function(&format!("{module} {name}"))?
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.function(&format!("{module} {name}"))?
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84));
                let from = from.context("a tuple of more than there is")?;
                Value::tuple(self.stack.split_off(from))?
            }
            b't' => Value::tuple(self.above_mark()?)?,
            // Lists are only ever looked at as tuples.
            b'e' => {
                let above = self.above_mark()?;
                let Value::Tuple(_, before) = self.pop()? else { bail!("no list to add to") };
                Value::tuple(before.iter().cloned().chain(above).collect())?
            }
            b'q' | b'r' | 0x94 => {
                let key = match code {
                    b'q' => self.array::<1>()?[0].into(),
                    b'r' => u32::from_le_bytes(self.array()?),
                    _ => self.memo.len() as u32,
                };
                let top = self.stack.last().context("nothing to keep")?.clone();
                self.memo.insert(key, top);
                return Ok(());
            }
            b'h' | b'j' => {
                let key = match code {
                    b'h' => self.array::<1>()?[0].into(),
                    _ => u32::from_le_bytes(self.array()?),
                };
                self.memo.get(&key).with_context(|| format!("nothing was kept as {key}"))?.clone()
            }
            b's' | b'u' => {
                let pairs = match code {
                    b's' => {
                        let from = self.stack.len().checked_sub(2).context("no entry")?;
                        self.stack.split_off(from)
                    }
                    _ => self.above_mark()?,
                };
                let dictionary = self.stack.last_mut().context("no dictionary")?;
                let Value::Dictionary(depth, entries) = dictionary else {
                    bail!("entries of what is no dictionary")
                };
                ensure!(pairs.len().is_multiple_of(2), "a key without a value");
                *depth = deeper(&pairs)?.max(*depth);
                let pairs = pairs.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                Rc::make_mut(entries).extend(pairs);
                return Ok(());
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                call(&function, arguments)?
            }
            // What a dictionary has besides its entries: nothing that weights need.
            b'b' => {
                self.pop()?;
                return Ok(());
            }
            b'Q' => storage(self.pop()?)?,
            other => bail!(
                "{:?}, which no dictionary of tensors needs; save the model again as safetensors",
                char::from(other)
            ),
        };
        self.stack.push(value);
        Ok(())
    }

    fn function(&self, name: &str) -> Result<Value> {
        let storage = name.strip_prefix("torch ").is_some_and(|name| {
            name.ends_with("Storage") && name.chars().all(char::is_alphanumeric)
        });
        ensure!(
            storage || [DICTIONARY, TENSOR, PARAMETER].contains(&name),
            "it calls `{name}`, which weights do not need; it is refused, as it could be a program: save \
             the model again as safetensors"
        );
        Ok(Value::Function(name.into()))
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().context("an empty stack; the file is damaged: download it again")
    }

    fn pop_text(&mut self) -> Result<Rc<str>> {
        match self.pop()? {
            Value::Text(text) => Ok(text),
            other => bail!("{}, expected a text", other.shown()),
        }
    }

    fn above_mark(&mut self) -> Result<Vec<Value>> {
        let at = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let above = self.stack.split_off(at.context("no mark; the file is damaged")? + 1);
        self.stack.pop();
        Ok(above)
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.context("the pickle ends early; download the file again")?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn line(&mut self) -> Result<String> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let end = rest.iter().position(|&byte| byte == b'\n').context("a name without an end")?;
        let line = String::from_utf8(self.take(end)?.to_vec())?;
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<Value> {
        Ok(Value::Text(std::str::from_utf8(self.take(length)?)?.into()))
    }

    fn long(&mut self) -> Result<Value> {
        let [length] = self.array()?;
        ensure!(length <= 8, "a whole number of {length} bytes, expected 8 at most");
        let mut bytes = self.take(length.into())?.to_vec();
        let sign = bytes.last().is_some_and(|&byte| byte >= 0x80);
        bytes.resize(8, if sign { 0xFF } else { 0 });
        let bytes: [u8; 8] = bytes.try_into().unwrap_or_default();
        Ok(Value::Whole(i64::from_le_bytes(bytes)))
    }
}

/// What a function makes of its arguments.
fn call(function: &Value, arguments: Value) -> Result<Value> {
    let (Value::Function(name), Value::Tuple(_, arguments)) = (function, arguments) else {
        bail!("{} is called, expected a function", function.shown())
    };
    match (&**name, &arguments[..]) {
        (DICTIONARY, []) => Ok(Value::Dictionary(1, Rc::default())),
        (PARAMETER, [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
        (
            TENSOR,
            [
                Value::Storage { name, kind },
                Value::Whole(offset),
                Value::Tuple(_, shape),
                Value::Tuple(_, strides),
                ..,
            ],
        ) => {
            let sizes = |list: &[Value]| -> Result<Vec<usize>> {
                let size = |value: &Value| match value {
                    Value::Whole(size) => usize::try_from(*size).context("a size below 0"),
                    other => bail!("{}, expected a size", other.shown()),
                };
                list.iter().map(size).collect()
            };
            Ok(Value::Tensor(Rc::new(Place {
                storage: name.to_string(),
                kind: kind.to_string(),
                offset: usize::try_from(*offset).context("an offset below 0")?,
                shape: sizes(shape)?,
                strides: sizes(strides)?,
            })))
        }
        (name, _) => bail!(
            "`{name}` of {} arguments, expected a tensor's, or none for a dictionary",
            arguments.len()
        ),
    }
}

/// `("storage", kind, name, place, elements)`.
fn storage(id: Value) -> Result<Value> {
    match &id {
        Value::Tuple(_, parts) => match &parts[..] {
            [Value::Text(word), Value::Function(kind), Value::Text(name), ..]
                if &**word == "storage" =>
            {
                let kind = kind.strip_prefix("torch ").unwrap_or(kind);
                Ok(Value::Storage { name: name.clone(), kind: kind.into() })
            }
            _ => bail!("{}, expected a storage", id.shown()),
        },
        _ => bail!("{}, expected a storage", id.shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::tensors;

    #[test]
    fn a_function_that_weights_do_not_need_is_refused_by_name() {
        // os.system("x"), as a pickle of protocol 2 has it.
        let said =
            format!("{:#}", tensors(b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.").unwrap_err());
        assert!(said.contains("`os system`") && said.contains("safetensors"), "{said}");
        let said = format!("{:#}", tensors(b"\x80\x02ctorch\nload\n.").unwrap_err());
        assert!(said.contains("`torch load`"), "{said}");
    }

    #[test]
    fn bytes_that_are_no_pickle_are_refused() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"\x80\x02.",
            b"\x80\x02N.",
            b"t",
            b"\x85",
            b"R",
            b"u",
            b"}s.",
            b"h\x05",
        ] {
            assert!(tensors(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(tensors(b"\x80\x02}.").unwrap(), []);
        let deep = [&b")"[..], &b"\x85".repeat(1_000_000)].concat();
        let said = format!("{:#}", tensors(&deep).unwrap_err());
        assert!(said.contains("deeper than weights need"), "{said}");
    }
}
