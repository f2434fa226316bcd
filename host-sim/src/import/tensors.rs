//! A file of tensors: safetensors, or the archive that `torch.save` writes.
//!
//! In: a path. Out: where each tensor is, by name. Knows nothing of values.

use super::{json, pickle};
use anyhow::{Context, Result, anyhow, bail, ensure};
use memmap2::Mmap;
use rawzip::{CompressionMethod, ZipArchive};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a tensor is.
pub(super) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// In the file.
    pub bytes: Range<usize>,
}

/// An open file.
pub(super) struct TensorFile {
    pub path: PathBuf,
    pub bytes: Arc<Mmap>,
    pub tensors: BTreeMap<String, Stored>,
    /// What a safetensors file says besides.
    pub notes: HashMap<String, String>,
}

impl TensorFile {
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown}: cannot be opened"))?;
        let length = file.metadata().with_context(|| format!("{shown}: not readable"))?.len();
        if length < 8 {
            bail!("{shown}: {length} bytes, too short for a file of tensors; download it again");
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
        // The list of a safetensors file begins behind its length, whatever the file is called.
        let listed = bytes.get(8) == Some(&b'{');
        let is_bin = path.extension().is_some_and(|extension| extension == "bin");
        let (tensors, notes) = if is_bin && !listed {
            (in_archive(&bytes).with_context(|| shown.to_string())?, HashMap::new())
        } else {
            in_safetensors(&bytes).with_context(|| shown.to_string())?
        };
        Ok(Self { path: path.to_owned(), bytes: Arc::new(bytes), tensors, notes })
    }
}

type Listed = (BTreeMap<String, Stored>, HashMap<String, String>);

fn in_safetensors(bytes: &[u8]) -> Result<Listed> {
    // What is not JSON at all is told better below.
    let listed = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let list = usize::try_from(listed).ok().and_then(|listed| bytes.get(8..)?.get(..listed));
    if let Some(Err(error)) = list.map(json::parse)
        && error.is_data()
    {
        bail!("the list of tensors: {error}");
    }
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| {
        let fix = match error {
            SafeTensorError::InvalidHeaderLength
            | SafeTensorError::MetadataIncompleteBuffer
            | SafeTensorError::HeaderTooSmall => {
                "it is truncated or only partly downloaded; download it again"
            }
            _ => "it is damaged or of another format; download it again",
        };
        anyhow!("not a whole safetensors file of {} bytes ({error}); {fix}", bytes.len())
    })?;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let bytes = 8 + header + start..8 + header + end;
        (name, Stored { dtype: info.dtype, shape: info.shape.clone(), bytes })
    });
    Ok((tensors.collect(), metadata.metadata().clone().unwrap_or_default()))
}

/// The tensors of an archive of `torch.save`: a pickle says which, each storage is an entry of its own.
fn in_archive(bytes: &[u8]) -> Result<BTreeMap<String, Stored>> {
    const WAY_OUT: &str = "convert it with transformers: \
                           AutoModelForCausalLM.from_pretrained(..).save_pretrained(..)";
    let archive = ZipArchive::from_slice(bytes).map_err(|error| {
        anyhow!(
            "not a whole archive of torch.save ({error}); it is cut short, or of PyTorch before 1.6: download \
             it again, or {WAY_OUT}"
        )
    })?;
    let mut entries: HashMap<String, Range<usize>> = HashMap::new();
    let mut list = archive.entries();
    while let Some(entry) = list.next_entry().map_err(|error| anyhow!("{error}"))? {
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        ensure!(
            entry.compression_method() == CompressionMethod::STORE,
            "entry {name} is compressed, expected it as torch.save stores it; {WAY_OUT}"
        );
        let found =
            archive.get_entry(entry.wayfinder()).map_err(|error| anyhow!("{name}: {error}"))?;
        let (start, end) = found.compressed_data_range();
        let range = usize::try_from(start)?..usize::try_from(end)?;
        // All stand in a folder of the archive's name.
        let inner = name.split_once('/').map_or(&*name, |(_, inner)| inner).to_owned();
        ensure!(
            entries.insert(inner, range).is_none(),
            "entry {name} is there twice, expected once; save the model again"
        );
    }
    let pickled = entries.get("data.pkl").and_then(|range| bytes.get(range.clone()));
    let pickled = pickled.with_context(|| format!("no data.pkl in it; {WAY_OUT}"))?;
    let order = entries.get("byteorder").and_then(|range| bytes.get(range.clone()));
    ensure!(
        order.is_none_or(|order| order == b"little"),
        "numbers in big-endian order, expected little; {WAY_OUT}"
    );
    let mut tensors = BTreeMap::new();
    for (name, place) in pickle::tensors(pickled)? {
        let (dtype, size) = match place.kind.as_str() {
            "FloatStorage" => (Dtype::F32, 4),
            "HalfStorage" => (Dtype::F16, 2),
            "BFloat16Storage" => (Dtype::BF16, 2),
            "DoubleStorage" => (Dtype::F64, 8),
            "LongStorage" => (Dtype::I64, 8),
            "BoolStorage" | "ByteStorage" => (Dtype::U8, 1),
            other => bail!(
                "tensor `{name}` is of {other}, expected float32, float16 or bfloat16; {WAY_OUT}"
            ),
        };
        let storage = entries.get(&format!("data/{}", place.storage));
        let storage =
            storage.with_context(|| format!("tensor `{name}`: no data/{}", place.storage))?;
        let mut expected = 1usize;
        let mut rows_first = true;
        for (&count, &stride) in place.shape.iter().zip(&place.strides).rev() {
            rows_first &= count <= 1 || stride == expected;
            expected = expected
                .checked_mul(count)
                .with_context(|| format!("tensor `{name}`: its shape"))?;
        }
        ensure!(
            rows_first && place.shape.len() == place.strides.len(),
            "tensor `{name}` has shape {:?} and strides {:?}, expected its values one after another; {WAY_OUT}",
            place.shape,
            place.strides
        );
        let start = place.offset.checked_mul(size).and_then(|at| at.checked_add(storage.start));
        let end =
            start.zip(expected.checked_mul(size)).and_then(|(start, len)| start.checked_add(len));
        let range = start.zip(end).filter(|(_, end)| *end <= storage.end);
        let (start, end) = range.with_context(|| {
            format!(
                "tensor `{name}` lies beyond the end of data/{}; download it again",
                place.storage
            )
        })?;
        tensors.insert(name, Stored { dtype, shape: place.shape, bytes: start..end });
    }
    Ok(tensors)
}
