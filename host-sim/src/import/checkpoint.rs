//! The tensors of a checkpoint: one safetensors file, or several behind an index.
//!
//! In: a path. Out: tensors by name, converted to float32 and checked. Knows nothing of what the
//! tensors mean.

use super::json;
use anyhow::{Context, Result, anyhow, bail};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// An open checkpoint.
pub(crate) struct Checkpoint {
    files: Vec<Opened>,
    /// Tensor name to position in `files`.
    tensors: BTreeMap<String, usize>,
}

struct Opened {
    path: PathBuf,
    bytes: Mmap,
    metadata: Metadata,
    /// Where tensor data begins in `bytes`.
    data: usize,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens one safetensors file.
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        let file = Opened::open(path)?;
        let tensors = file.metadata.offset_keys().into_iter().map(|name| (name, 0)).collect();
        Ok(Self { files: vec![file], tensors })
    }

    /// Opens `model.safetensors` in `directory`, or the shards that its index lists.
    pub(crate) fn open_directory(directory: &Path) -> Result<Self> {
        let single = directory.join(SINGLE);
        if single.exists() {
            return Self::open_file(&single);
        }
        let index = directory.join(INDEX);
        if index.exists() {
            return Self::open_shards(directory, &index);
        }
        if directory.join("pytorch_model.bin").exists()
            || directory.join("pytorch_model.bin.index.json").exists()
        {
            bail!(
                "{}: not found, only pytorch_model.bin, which is not read; convert it with \
                 transformers: AutoModelForCausalLM.from_pretrained(..).save_pretrained(..)",
                single.display()
            );
        }
        bail!(
            "{}: not found, nor {INDEX}; the directory of a Hugging Face checkpoint holds one of \
             them",
            single.display()
        )
    }

    fn open_shards(directory: &Path, index_path: &Path) -> Result<Self> {
        let index: Index = serde_json::from_value(json::read(index_path)?).with_context(|| {
            format!(
                "{}: not an index of safetensors shards; download it again",
                index_path.display()
            )
        })?;
        let mut files: Vec<Opened> = Vec::new();
        let mut opened: HashMap<&str, usize> = HashMap::new();
        let mut tensors = BTreeMap::new();
        for (name, shard) in &index.weight_map {
            let at = match opened.get(shard.as_str()) {
                Some(&at) => at,
                None => {
                    if Path::new(shard).file_name() != Some(shard.as_ref()) {
                        bail!(
                            "{}: tensor `{name}` is in `{shard}`, expected the name of a file in \
                             the same directory",
                            index_path.display()
                        );
                    }
                    let path = directory.join(shard);
                    if !path.exists() {
                        bail!(
                            "{}: shard not found, but {INDEX} says that tensor `{name}` is in it; \
                             download all shards",
                            path.display()
                        );
                    }
                    files.push(Opened::open(&path)?);
                    opened.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            if files[at].metadata.info(name).is_none() {
                bail!(
                    "{}: tensor `{name}` is missing, but {INDEX} says that it is in this shard; \
                     download the shards and the index again, together",
                    files[at].path.display()
                );
            }
            tensors.insert(name.clone(), at);
        }
        for (at, file) in files.iter().enumerate() {
            let names = file.metadata.offset_keys();
            // Which of two would count depends on the reader.
            if let Some(name) =
                names.iter().find(|name| tensors.get(*name).is_some_and(|&i| i != at))
            {
                bail!(
                    "{}: tensor `{name}` is in another shard too, expected in one; download the shards \
                     and the index again, together",
                    file.path.display()
                );
            }
        }
        Ok(Self { files, tensors })
    }

    /// Whether there is a tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file that holds tensor `name`, or else the first one.
    pub(crate) fn file_of(&self, name: &str) -> &Path {
        let at = self.tensors.get(name).copied().unwrap_or(0);
        self.files.get(at).map_or(Path::new(INDEX), |file| &file.path)
    }

    /// Entry `key` of the first file's metadata.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        let metadata = self.files.first()?.metadata.metadata().as_ref()?;
        metadata.get(key).map(String::as_str)
    }

    /// The values of tensor `name`, which must have `shape`, must be floating point and finite.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = self.tensors.get(name).and_then(|&at| self.files.get(at));
        let found = found.and_then(|file| Some((file, file.metadata.info(name)?)));
        let Some((file, info)) = found else {
            bail!(
                "{}: tensor `{name}` is missing, expected with shape {shape:?}; there are {} other \
                 tensors: is this a whole checkpoint, and of the model in its configuration?",
                self.file_of(name).display(),
                self.tensors.len()
            );
        };
        let path = file.path.display();
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            bail!(
                "{path}: tensor `{name}` is {}, expected F32, F16 or BF16; import the original \
                 weights: they are quantised later, by `ripple pack`",
                info.dtype
            );
        }
        if info.shape != shape {
            bail!(
                "{path}: tensor `{name}` has shape {:?}, expected {shape:?} from the \
                 configuration; the weights and the configuration are of different models",
                info.shape
            );
        }
        let (start, end) = info.data_offsets;
        let bytes = file.bytes.get(file.data + start..file.data + end).ok_or_else(|| {
            anyhow!("{path}: tensor `{name}` lies beyond the end of the file; download it again")
        })?;
        let values = to_f32(info.dtype, bytes);
        if let Some(i) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "{path}: tensor `{name}` holds {} at element {i} of {}, expected finite values; \
                 the checkpoint is damaged or overflowed when it was converted to {}: download it \
                 again or convert it to F32 or BF16",
                values[i],
                values.len(),
                info.dtype
            );
        }
        Ok(values)
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown}: cannot be opened"))?;
        let length = file.metadata().with_context(|| format!("{shown}: not readable"))?.len();
        if length < 8 {
            bail!("{shown}: {length} bytes, too short for a safetensors file; download it again");
        }
        // SAFETY: the map is private to this value and only read as bytes, so no bit pattern is
        // invalid. Another process that shortens the file meanwhile would end this one by SIGBUS;
        // checkpoints are not edited in place.
        #[allow(unsafe_code, reason = "reading a checkpoint larger than RAM without a copy")]
        let bytes =
            unsafe { Mmap::map(&file) }.with_context(|| format!("{shown}: cannot be mapped"))?;
        if bytes.starts_with(b"version https://git-lfs") {
            bail!("{shown}: a Git LFS pointer instead of the weights; run `git lfs pull`");
        }
        // What is not JSON at all is told better below.
        let listed = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let list = usize::try_from(listed).ok().and_then(|listed| bytes.get(8..)?.get(..listed));
        if let Some(Err(error)) = list.map(json::parse)
            && error.is_data()
        {
            bail!("{shown}: the list of tensors: {error}");
        }
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            let fix = match error {
                SafeTensorError::InvalidHeaderLength
                | SafeTensorError::MetadataIncompleteBuffer
                | SafeTensorError::HeaderTooSmall => {
                    "it is truncated or only partly downloaded; download it again"
                }
                _ => "it is damaged or of another format; download it again",
            };
            anyhow!("{shown}: not a whole safetensors file of {length} bytes ({error}); {fix}")
        })?;
        json::parse(&bytes[8..8 + header])
            .with_context(|| format!("{shown}: the list of tensors"))?;
        Ok(Self { path: path.to_owned(), bytes, metadata, data: 8 + header })
    }
}

/// `bytes` of one of the three floating-point types as float32; exact for each of them.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    }
}
