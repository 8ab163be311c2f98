//! Why a chip could not be read: what flashrom says, and what the kernel says about itself (reference/crates.md,
//! kernel facts; reference/me.md 3.1). Pure, over text.

use oob_policy::shown;

use super::flashrom::Run;
use crate::machine::{Machine, clip};

/// What the kernel says about who may reach the flash controller. None is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// `none`, `integrity`, `confidentiality`.
    pub(super) lockdown: Option<String>,
    /// `iomem=relaxed` stands on the kernel command line.
    pub(super) iomem_relaxed: Option<bool>,
    /// Flash devices that a driver of the kernel's own serves; empty where it serves none.
    pub(super) mtd: Option<Vec<String>>,
}

impl Circumstances {
    pub(super) fn of(machine: &Machine) -> Self {
        let text = |rel: &str| machine.read_text(rel).ok();
        Self {
            lockdown: text("sys/kernel/security/lockdown").and_then(|text| chosen(&text)),
            iomem_relaxed: text("proc/cmdline").map(|line| is_relaxed(&line)),
            // Without the subsystem there is no such file, and no device either.
            mtd: Some(text("proc/mtd").map(|table| mtd_devices(&table)).unwrap_or_default()),
        }
    }
}

/// One sentence: that nothing was read, and by which evidence.
pub(super) fn refusal(run: &Run, circumstances: &Circumstances) -> String {
    let causes = causes(&run.output);
    let mut said: Vec<String> = causes.iter().map(Cause::text).collect();
    if causes.is_empty() {
        said.push(last_words(&run.output));
    }
    if causes.iter().any(|cause| matches!(cause, Cause::NoMemory | Cause::NoPorts)) {
        said.extend(kernel(circumstances));
    }
    format!("flashrom read nothing ({}): {}", shown(&run.ended), said.join("; "))
}

/// What a person should know of a chip that was read: regions that this machine may not write, so that flashing it
/// from here would fail.
pub(super) fn notes(output: &str) -> Vec<String> {
    let closed = causes(output).into_iter().filter_map(|cause| match cause {
        Cause::Region { name, access } => Some(format!("{name} is {access}")),
        _ => None,
    });
    let closed: Vec<String> = closed.collect();
    if closed.is_empty() {
        return Vec::new();
    }
    let closed = closed.join(", ");
    vec![format!(
        "flashing from this machine itself may fail, an external programmer is not bound by it: {closed}"
    )]
}

/// What a line of flashrom's output shows. Words of flashrom 1.3 and its neighbors; what is not known says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The kernel refused `/dev/mem`.
    NoMemory,
    /// The kernel refused I/O ports.
    NoPorts,
    /// A region of the descriptor that the host may not read, write or both.
    Region {
        name: String,
        access: String,
    },
    NoChip,
    /// More than one chip definition fits; which ones.
    ManyChips(String),
    NoChipset,
    Laptop,
    /// A cycle failed while the chip was read, as where a region is locked.
    Cycle,
    /// flashrom did not get at all that it wanted to see.
    Partial,
}

pub(super) fn causes(output: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for line in output.lines() {
        let Some(cause) = cause(line.trim()) else { continue };
        if !causes.contains(&cause) && causes.len() < MAX_CAUSES {
            causes.push(cause);
        }
    }
    causes
}

/// A descriptor has sixteen regions.
const MAX_CAUSES: usize = 24;

fn cause(line: &str) -> Option<Cause> {
    if let Some(region) = region(line) {
        return Some(region);
    }
    let lower = line.to_ascii_lowercase();
    let has = |words: &str| lower.contains(words);
    let refused = ["denied", "not permitted", "failed", "error"].iter().any(|word| has(word));
    match () {
        () if has("/dev/mem") && refused => Some(Cause::NoMemory),
        () if has("could not get i/o privileges") => Some(Cause::NoPorts),
        () if has("no eeprom/flash device found") => Some(Cause::NoChip),
        () if has("multiple flash chip definitions match") => {
            let names = line.split_once(':').map_or("", |(_, names)| names).trim();
            Some(Cause::ManyChips(shown(&clip(names))))
        }
        () if has("chipset is not supported") => Some(Cause::NoChipset),
        () if has("unknown laptop") => Some(Cause::Laptop),
        () if has("transaction error") || has("read operation failed") => Some(Cause::Cycle),
        () if has("could not fully verify") || has("not all flash regions are freely accessible") => {
            Some(Cause::Partial)
        }
        () => None,
    }
}

/// `FREG2: Management Engine region (0x00001000-0x001fffff) is locked.`
fn region(line: &str) -> Option<Cause> {
    let (index, rest) = line.strip_prefix("FREG")?.split_once(": ")?;
    let (name, rest) = rest.split_once(" region (")?;
    let (_, access) = rest.split_once(") is ")?;
    let access = access.trim_end_matches('.');
    let bound = ["locked", "read-only", "write-only"].contains(&access);
    let index = index.parse::<u8>().ok()?;
    bound.then(|| Cause::Region {
        name: format!("region {index} ({})", shown(&clip(name))),
        access: access.to_owned(),
    })
}

impl Cause {
    fn text(&self) -> String {
        match self {
            Self::NoMemory => "the kernel refused access to the chipset's registers (/dev/mem)".to_owned(),
            Self::NoPorts => "the kernel refused access to I/O ports".to_owned(),
            Self::Region { name, access } => {
                format!("{name} is {access} for this machine, by its flash descriptor")
            }
            Self::NoChip => "it found no chip that it knows".to_owned(),
            Self::ManyChips(names) => {
                format!("more than one chip definition fits ({names}): name the chip, `flashrom -c NAME`")
            }
            Self::NoChipset => "it does not know this chipset".to_owned(),
            Self::Laptop => "it does not trust laptops that it does not know".to_owned(),
            Self::Cycle => "the flash controller refused to read a part of the chip".to_owned(),
            Self::Partial => "not all of the chip is accessible".to_owned(),
        }
    }
}

/// What makes a kernel refuse, as far as it shows.
fn kernel(circumstances: &Circumstances) -> Vec<String> {
    let mut said = Vec::new();
    match (circumstances.lockdown.as_deref(), circumstances.iomem_relaxed) {
        (Some(mode @ ("integrity" | "confidentiality")), _) => said.push(format!(
            "the kernel is locked down (`{mode}` in sys/kernel/security/lockdown, as under Secure Boot): switch Secure \
             Boot off while the chip is read"
        )),
        (_, Some(false)) => said.push(
            "the kernel command line has no `iomem=relaxed`, which kernels with STRICT_DEVMEM want: add it and boot again"
                .to_owned(),
        ),
        (_, Some(true)) => said.push("`iomem=relaxed` is set, so something else refuses".to_owned()),
        (_, None) => {}
    }
    match circumstances.mtd.as_deref() {
        Some([]) => {
            said.push("proc/mtd has no chip, so no driver of the kernel's own reads it either".to_owned())
        }
        Some(devices) => said.push(format!(
            "proc/mtd has {}: the kernel's own driver may read it, as `flashrom -p linux_mtd`",
            devices.join(", ")
        )),
        None => {}
    }
    said
}

/// The line that most likely tells, where no known one does.
fn last_words(output: &str) -> String {
    let telling = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        ["error", "fail", "cannot", "could not", "unable", "invalid"].iter().any(|word| lower.contains(word))
    };
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    match lines().find(telling).or_else(|| lines().next_back()) {
        Some(line) => format!("it said: {}", shown(&clip(line))),
        None => "it said nothing".to_owned(),
    }
}

/// `none [integrity] confidentiality`: the word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(shown(&clip(word)))
}

fn is_relaxed(cmdline: &str) -> bool {
    cmdline.split_ascii_whitespace().any(|word| word == "iomem=relaxed")
}

/// `mtd0: 02000000 00001000 "BIOS"`, below a heading.
fn mtd_devices(table: &str) -> Vec<String> {
    let device = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let number = name.strip_prefix("mtd")?;
        let title = rest.split('"').nth(1).unwrap_or_default();
        let sound = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        sound.then(|| format!("{name} ({})", shown(&clip(title))))
    };
    table.lines().filter_map(|line| device(line.trim())).take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(output: &str) -> Run {
        Run { succeeded: false, ended: "exit status: 1".to_owned(), output: output.to_owned() }
    }

    fn region(name: &str, access: &str) -> Cause {
        Cause::Region { name: name.to_owned(), access: access.to_owned() }
    }

    #[test]
    fn every_cause_is_known_by_its_line() {
        for (line, expected) in [
            ("Critical error: open(/dev/mem): Operation not permitted", Some(Cause::NoMemory)),
            ("/dev/mem mmap failed: Permission denied", Some(Cause::NoMemory)),
            ("Error accessing ICH RCRB, 0x4000 bytes at 0xfed1c000\r", None),
            ("ERROR: Could not get I/O privileges (Operation not permitted).", Some(Cause::NoPorts)),
            ("No EEPROM/flash device found.", Some(Cause::NoChip)),
            (
                "Multiple flash chip definitions match the detected chip(s): \"MX25L1\u{1b}\", \"MX25L2\"",
                Some(Cause::ManyChips("\"MX25L1\\u{1b}\", \"MX25L2\"".to_owned())),
            ),
            ("ERROR: This chipset is not supported yet.", Some(Cause::NoChipset)),
            ("You may be running flashrom on an unknown laptop. We could not", Some(Cause::Laptop)),
            ("Transaction error between offset 0x00001000 and 0x0000103f", Some(Cause::Cycle)),
            ("Read operation failed!", Some(Cause::Cycle)),
            ("Could not fully verify due to access error, ignoring", Some(Cause::Partial)),
            (
                "FREG2: Management Engine region (0x00001000-0x001fffff) is locked.",
                Some(region("region 2 (Management Engine)", "locked")),
            ),
            (
                "FREG0: Flash Descriptor region (0x00000000-0x00000fff) is read-only.",
                Some(region("region 0 (Flash Descriptor)", "read-only")),
            ),
            ("FREG1: BIOS region (0x00200000-0x007fffff) is read-write.", None),
            ("FREG300: BIOS region (0x00200000-0x007fffff) is locked.", None),
            ("FREG1: BIOS region is locked", None),
            ("Reading flash... done.", None),
            ("", None),
        ] {
            assert_eq!(cause(line), expected, "{line}");
        }
    }

    #[test]
    fn the_kernels_reasons_are_told_only_where_the_kernel_refused() {
        let locked_down = Circumstances {
            lockdown: Some("integrity".to_owned()),
            iomem_relaxed: Some(false),
            mtd: Some(Vec::new()),
        };
        let strict = Circumstances { lockdown: Some("none".to_owned()), ..locked_down.clone() };
        let driven = Circumstances { mtd: Some(vec!["mtd0 (BIOS)".to_owned()]), ..strict.clone() };
        let relaxed = Circumstances { iomem_relaxed: Some(true), ..strict.clone() };
        let no_memory = "Critical error: open(/dev/mem): Operation not permitted\n";
        for (circumstances, said, unsaid) in [
            (&locked_down, "locked down (`integrity`", "iomem"),
            (&strict, "no `iomem=relaxed`", "locked down"),
            (&driven, "proc/mtd has mtd0 (BIOS)", "no chip"),
            (&relaxed, "something else refuses", "add it"),
            (&Circumstances::default(), "/dev/mem", "proc/mtd"),
        ] {
            let text = refusal(&run(no_memory), circumstances);
            assert!(text.contains(said) && !text.contains(unsaid), "{text}");
            assert!(text.starts_with("flashrom read nothing (exit status: 1): the kernel refused"), "{text}");
        }
        let text = refusal(&run("No EEPROM/flash device found.\n"), &locked_down);
        assert!(text.ends_with("it found no chip that it knows"), "{text}");
    }

    #[test]
    fn a_locked_region_is_named_once_and_unknown_words_are_escaped() {
        let output = "FREG2: Management Engine region (0x1000-0x1fffff) is locked.\n\
                      FREG2: Management Engine region (0x1000-0x1fffff) is locked.\nRead operation failed!\n";
        let text = refusal(&run(output), &Circumstances::default());
        assert_eq!(text.matches("region 2 (Management Engine) is locked").count(), 1, "{text}");
        assert!(text.contains("refused to read a part"), "{text}");
        let strange = refusal(&run("hello\n\u{1b}[2JError: strange\nbye\n"), &Circumstances::default());
        assert!(strange.ends_with("it said: \\u{1b}[2JError: strange"), "{strange}");
        assert!(refusal(&run("a\nb\n\n"), &Circumstances::default()).ends_with("it said: b"));
        assert!(refusal(&run(""), &Circumstances::default()).ends_with("it said nothing"));
    }

    #[test]
    fn regions_that_may_not_be_written_are_noted_of_a_chip_that_was_read() {
        let output = "FREG0: Flash Descriptor region (0x00000000-0x00000fff) is read-only.\n\
                      FREG1: BIOS region (0x00200000-0x007fffff) is read-write.\nReading flash... done.\n";
        let notes = notes(output);
        assert_eq!(notes.len(), 1);
        assert!(notes[0].ends_with("region 0 (Flash Descriptor) is read-only"), "{notes:?}");
        assert_eq!(super::notes("Reading flash... done.\n"), Vec::<String>::new());
    }

    #[test]
    fn the_kernels_files_are_read() {
        for (text, expected) in [
            ("none [integrity] confidentiality\n", Some("integrity")),
            ("[none] integrity confidentiality", Some("none")),
            ("none", None),
            ("", None),
            ("[", None),
        ] {
            assert_eq!(chosen(text).as_deref(), expected, "{text}");
        }
        assert!(is_relaxed("ro quiet iomem=relaxed splash\n"));
        assert!(!is_relaxed("iomem=strict xiomem=relaxed iomem=relaxedish"));
        let table = "dev:    size   erasesize  name\nmtd0: 02000000 00001000 \"BIOS\"\nmtdX: 1 1 \"x\"\n";
        assert_eq!(mtd_devices(table), ["mtd0 (BIOS)"]);
        assert_eq!(mtd_devices("dev:    size   erasesize  name\n"), Vec::<String>::new());
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_explained_in_one_safe_line(
            output in proptest::collection::vec(
                proptest::sample::select(vec![
                    "FREG", "2: ", "x region (", ") is ", "locked.", "\n", "/dev/mem", " failed", "\u{1b}[2J", "Error ",
                    "Multiple flash chip definitions match: ", "\u{202e}",
                ]),
                0..30,
            )
        ) {
            let output = output.concat();
            let text = refusal(&run(&output), &Circumstances::default());
            proptest::prop_assert!(text.chars().all(|it| !oob_policy::deceives(it)), "{:?}", text);
            for note in notes(&output) {
                proptest::prop_assert!(note.chars().all(|it| !oob_policy::deceives(it)), "{:?}", note);
            }
        }
    }
}
