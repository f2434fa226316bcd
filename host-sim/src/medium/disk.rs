//! What the system says about a block device: size, model, whether it comes out, who uses it.
//!
//! In: a device number, and where `/sys` and `/proc` are. Out: [`Disk`]. Knows nothing of what the
//! device holds, and opens no device.
//!
//! Linux, Documentation/ABI: stable/sysfs-block, testing/sysfs-block; proc(5), mountinfo.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The name the kernel gives it: `sdb`.
    pub name: String,
    /// The disk that it is a partition of, if it is one.
    pub part_of: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// Bytes of a block, as the device counts them.
    pub block_bytes: u32,
    /// Vendor and model; empty if it does not say.
    pub model: String,
    /// Whether it, or the card in it, can be taken out.
    pub removable: bool,
    /// Whether it refuses to be written.
    pub read_only: bool,
    /// What it and its partitions are used for.
    pub uses: Vec<Use>,
}

/// A use that a device is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The device or partition.
    pub device: String,
    /// What it is used as: `mounted at /media/card`, `swap`, `part of dm-0`.
    pub of: String,
    /// Whether the system runs from it.
    pub system: bool,
}

/// Why nothing is known about a device.
#[derive(Debug, thiserror::Error)]
#[error("the system does not describe the device (no `{}`)", path.display())]
pub struct DiskError {
    path: PathBuf,
}

impl Disk {
    /// Asks about device `major:minor`; `root` is `/`, or what stands for it.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn probe(root: &Path, major: u32, minor: u32) -> Result<Self, DiskError> {
        let link = root.join(format!("sys/dev/block/{major}:{minor}"));
        let folder = link.canonicalize().map_err(|_| DiskError { path: link })?;
        let part_of = folder.join("partition").exists().then(|| folder.parent()).flatten();
        let disk = part_of.unwrap_or(&folder);

        let mut devices = BTreeMap::new();
        gather(&folder, &mut devices);
        let read = |name: &str| text(&disk.join(name));
        // A card slot of its own is not called removable, the card in it is: it says what it is.
        let removable = read("removable") == "1" || read("device/type") == "SD";
        let model = ["device/vendor", "device/model", "device/name"].map(&read);
        let words: Vec<&str> = model.iter().flat_map(|part| part.split_whitespace()).collect();
        Ok(Self {
            name: name(&folder),
            part_of: part_of.map(name),
            bytes: text(&folder.join("size")).parse::<u64>().unwrap_or(0) * 512,
            block_bytes: read("queue/logical_block_size").parse().unwrap_or(512),
            model: words.join(" "),
            removable,
            read_only: text(&folder.join("ro")) == "1",
            uses: uses(root, &folder, &devices),
        })
    }
}

impl Disk {
    /// Why a card can never be written to it, if so: what is wrong, and what to do.
    pub fn obstacle(&self) -> Option<String> {
        let Self { name, .. } = self;
        if let Some(disk) = &self.part_of {
            return Some(format!(
                "a partition, and a card begins with a partition table; give the disk, /dev/{disk}"
            ));
        }
        if let Some(used) = self.uses.iter().find(|used| used.system) {
            return Some(format!("the system runs from it ({} is {})", used.device, used.of));
        }
        if self.bytes == 0 {
            return Some("there is no card in it".to_owned());
        }
        if self.read_only {
            return Some("it is write-protected; look for a switch on the card".to_owned());
        }
        (self.block_bytes != 512)
            .then(|| format!("{name} has blocks of {} bytes, expected 512", self.block_bytes))
    }

    /// Why it should be written only by someone who is sure; empty if nothing speaks against it.
    pub fn cautions(&self) -> Vec<String> {
        let uses = self.uses.iter().map(|used| format!("{} is {}", used.device, used.of));
        let fixed = (!self.removable).then(|| "it is not removable".to_owned());
        uses.chain(fixed).collect()
    }
}

/// The number of a device and of all that is made of it (partitions, volumes), by name.
fn gather(folder: &Path, devices: &mut BTreeMap<String, String>) {
    if devices.insert(name(folder), text(&folder.join("dev"))).is_some() {
        return;
    }
    let inside = entries(folder).into_iter().filter(|path| path.join("partition").exists());
    for device in inside.chain(entries(&folder.join("holders"))) {
        if let Ok(device) = device.canonicalize() {
            gather(&device, devices);
        }
    }
}

/// What `devices` are used for; a volume made of `folder` or a partition of it is a use as well.
fn uses(root: &Path, folder: &Path, devices: &BTreeMap<String, String>) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut add = |device: &str, of: String, system: bool| {
        let new = Use { device: device.to_owned(), of, system };
        if !uses.contains(&new) {
            uses.push(new);
        }
    };
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    for line in mounts.lines() {
        // id parent major:minor root mount-point options [tag..] - type source options
        let (front, back) = line.split_once(" - ").unwrap_or((line, ""));
        let fields: Vec<&str> = front.split(' ').collect();
        let (Some(number), Some(at)) = (fields.get(2), fields.get(4)) else { continue };
        // Some file systems have numbers of their own, and name the device only as their source.
        let source = back.split(' ').nth(1).and_then(|source| source.strip_prefix("/dev/"));
        for (name, dev) in devices {
            if dev == number || source == Some(name) {
                let at = unescape(at);
                add(name, format!("mounted at {at}"), at == "/");
            }
        }
    }
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    for path in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        if let Some((name, _)) = path.strip_prefix("/dev/").and_then(|n| devices.get_key_value(n)) {
            add(name, "swap".to_owned(), false);
        }
    }
    for name in devices.keys().filter(|name| !name.starts_with(self::name(folder).as_str())) {
        add(name, "made of it".to_owned(), false);
    }
    uses
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What an attribute says; empty without it.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Spaces and such are written as `\040` there.
fn unescape(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                bytes.push(code);
                bytes.extend(&part.as_bytes()[3..]);
            }
            None => bytes.extend([b"\\", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A computer with a system disk (one partition below a volume), a USB reader with a mounted
    /// card, a card slot, and an eMMC.
    fn computer() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let device = |path: &str, number: &str, size: &str, more: &[(&str, &str)]| {
            let folder = format!("sys/devices/{path}");
            put(&format!("{folder}/dev"), &format!("{number}\n"));
            put(&format!("{folder}/size"), &format!("{size}\n"));
            for (name, value) in more {
                put(&format!("{folder}/{name}"), &format!("{value}\n"));
            }
            fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
            let link = root.path().join(format!("sys/dev/block/{number}"));
            symlink(root.path().join(&folder), link).unwrap();
        };
        device("sda", "8:0", "1000215216", &[("removable", "0"), ("device/model", "Fast SSD")]);
        device("sda/sda1", "8:1", "1000000000", &[("partition", "1")]);
        device("dm-0", "252:0", "999999999", &[]);
        fs::create_dir_all(root.path().join("sys/devices/sda/sda1/holders")).unwrap();
        symlink(
            root.path().join("sys/devices/dm-0"),
            root.path().join("sys/devices/sda/sda1/holders/dm-0"),
        )
        .unwrap();
        let reader =
            [("removable", "1"), ("device/vendor", "Generic "), ("device/model", "SD/MMC   ")];
        device("sdb", "8:16", "62333952", &reader);
        device("sdb/sdb1", "8:17", "62331904", &[("partition", "1")]);
        let slot =
            [("removable", "0"), ("device/type", "SD"), ("device/name", "SC32G"), ("ro", "1")];
        device("mmcblk0", "179:0", "62333952", &slot);
        let emmc =
            [("removable", "0"), ("device/type", "MMC"), ("queue/logical_block_size", "4096")];
        device("mmcblk1", "179:8", "15269888", &emmc);
        device("sdc", "8:32", "2048", &[("removable", "1")]);
        put(
            "proc/self/mountinfo",
            "22 1 252:0 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw\n\
             23 22 0:40 / /data rw - btrfs /dev/sdb1 rw\n\
             24 22 8:17 / /media/my\\040card rw - vfat /dev/sdb1 rw\n\
             25 22 0:5 / /proc rw - proc proc rw\n",
        );
        put("proc/swaps", "Filename Type Size Used Priority\n/dev/mmcblk1 partition 1 0 -2\n");
        root
    }

    fn uses(disk: &Disk) -> Vec<(&str, &str, bool)> {
        disk.uses.iter().map(|u| (u.device.as_str(), u.of.as_str(), u.system)).collect()
    }

    #[test]
    fn a_reader_with_a_mounted_card_is_removable_and_in_use() {
        let root = computer();
        let disk = Disk::probe(root.path(), 8, 16).unwrap();
        assert_eq!((disk.name.as_str(), disk.model.as_str()), ("sdb", "Generic SD/MMC"));
        assert_eq!((disk.bytes, disk.block_bytes), (62_333_952 * 512, 512));
        assert!(disk.removable && !disk.read_only && disk.part_of.is_none());
        assert_eq!(
            uses(&disk),
            [("sdb1", "mounted at /data", false), ("sdb1", "mounted at /media/my card", false)]
        );
    }

    #[test]
    fn what_is_mounted_or_fixed_is_a_caution_and_what_cannot_work_an_obstacle() {
        let root = computer();
        let probe = |major, minor| Disk::probe(root.path(), major, minor).unwrap();
        let reader = probe(8, 16);
        assert_eq!(reader.obstacle(), None);
        assert_eq!(
            reader.cautions(),
            ["sdb1 is mounted at /data", "sdb1 is mounted at /media/my card"]
        );
        assert_eq!(probe(8, 0).cautions().last().unwrap(), "it is not removable");
        let unused = probe(8, 32);
        assert!(unused.obstacle().is_none() && unused.cautions().is_empty());
        let empty = Disk { bytes: 0, ..unused };
        assert_eq!(empty.obstacle().unwrap(), "there is no card in it");
        assert!(probe(179, 0).obstacle().unwrap().contains("write-protected"));
        assert!(probe(179, 8).obstacle().unwrap().contains("blocks of 4096 bytes"));
    }

    #[test]
    fn a_partition_says_whose_it_is() {
        let root = computer();
        let part = Disk::probe(root.path(), 8, 17).unwrap();
        assert_eq!(part.part_of.as_deref(), Some("sdb"));
        assert!(part.removable && part.uses.len() == 2);
        assert_eq!(part.bytes, 62_331_904 * 512);
        assert!(part.obstacle().unwrap().contains("give the disk, /dev/sdb"));
    }

    #[test]
    fn the_system_is_found_through_a_volume() {
        let root = computer();
        let disk = Disk::probe(root.path(), 8, 0).unwrap();
        assert!(!disk.removable);
        assert_eq!(uses(&disk), [("dm-0", "mounted at /", true), ("dm-0", "made of it", false)]);
        assert!(
            disk.obstacle().unwrap().contains("the system runs from it (dm-0 is mounted at /)")
        );
    }

    #[test]
    fn slots_and_chips_are_told_apart() {
        let root = computer();
        let slot = Disk::probe(root.path(), 179, 0).unwrap();
        assert!(slot.removable && slot.read_only && slot.uses.is_empty());
        assert_eq!(slot.model, "SC32G");
        let chip = Disk::probe(root.path(), 179, 8).unwrap();
        assert!(!chip.removable && chip.block_bytes == 4096);
        assert_eq!(uses(&chip), [("mmcblk1", "swap", false)]);
    }

    #[test]
    fn an_unused_card_has_no_uses_and_an_unknown_device_is_an_error() {
        let root = computer();
        assert_eq!(uses(&Disk::probe(root.path(), 8, 32).unwrap()), []);
        let error = Disk::probe(root.path(), 9, 9).unwrap_err().to_string();
        assert!(error.contains("sys/dev/block/9:9"), "{error}");
    }
}
