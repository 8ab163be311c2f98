//! Every row of `me_cleaner-golden.tsv` (reference/me.md 8): what the other tool made of real images, byte for byte,
//! and the rows where we knowingly differ. Reads `OOB_CORPUS` and `OOB_CORPUS_BUILT`.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stderr, reason = "all of this is test code")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oob_mecheck::clean::{Cleaned, Options, Refusal, clean};
use sha2::{Digest, Sha256};

/// Images whose descriptor and ME disagree, or whose strap lies elsewhere: `-S` and `-s` are refused, where the other
/// tool writes a dword that means something else there. The same list stands in `CLEAN.md`.
const CONTRADICTED: [&str; 1] = ["full/starbook_cml.bin"];

struct Row {
    image: String,
    image_sha256: String,
    flags: String,
    exit: String,
    out_sha256: String,
    descriptor_sha256: String,
    me_sha256: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Class {
    Identical,
    Contradicted,
    ErrorWithoutOutput,
}

#[test]
fn every_golden_row_is_met() {
    let Some((rows, corpus, built)) = corpus() else { return };
    let mut classes: BTreeMap<Class, usize> = BTreeMap::new();
    let mut contradicted = Vec::new();
    let mut wrong = Vec::new();
    let mut loaded: Option<(String, Vec<u8>)> = None;
    for row in &rows {
        if loaded.as_ref().is_none_or(|(name, _)| *name != row.image) {
            let root = if row.image.starts_with("full/") { &built } else { &corpus };
            let bytes = fs::read(root.join(&row.image)).expect("the table names an image that is missing");
            assert_eq!(sha256(&bytes), row.image_sha256, "{}", row.image);
            loaded = Some((row.image.clone(), bytes));
        }
        let image = &loaded.as_ref().unwrap().1;
        match judge(row, image, &clean(image, &options(&row.flags))) {
            Ok(class) => {
                if class == Class::Contradicted {
                    contradicted.push(format!("{} {}", row.image, row.flags));
                }
                *classes.entry(class).or_default() += 1;
            }
            Err(why) => wrong.push(format!("{} {}: {why}", row.image, row.flags)),
        }
    }
    say(&format!("golden rows: {classes:?}; refused as contradicted: {contradicted:#?}"));
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(classes.values().sum::<usize>(), rows.len());
    let expected = |class: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| class(row)).count();
    assert_eq!(classes[&Class::ErrorWithoutOutput], expected(&|row| row.exit != "0"));
    assert_eq!(classes[&Class::Contradicted], expected(&is_contradicted));
    assert!(rows.len() >= 400, "only {} rows in the table", rows.len());
}

fn judge(row: &Row, image: &[u8], result: &Result<Cleaned, Refusal>) -> Result<Class, String> {
    let contradicted = is_contradicted(row);
    match (row.exit.as_str(), contradicted, result) {
        ("0", true, Err(Refusal::Impossible { text, .. })) if text.contains("neutralize") => {
            Ok(Class::Contradicted)
        }
        ("0", false, Ok(cleaned)) => {
            let check = row.flags.split(' ').any(|flag| flag == "-c");
            let out = if check { "-".to_owned() } else { sha256(&cleaned.image) };
            if check && (cleaned.changed || cleaned.image != image) {
                return Err("-c changed something".into());
            }
            let part = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or("-".to_owned(), sha256);
            for (what, ours, theirs) in [
                ("output", out, &row.out_sha256),
                ("-D", part(&cleaned.descriptor), &row.descriptor_sha256),
                ("-M", part(&cleaned.me), &row.me_sha256),
            ] {
                if ours != *theirs {
                    return Err(format!("{what} differs: {ours} is not {theirs}"));
                }
            }
            changes_nothing_again(row, cleaned).map(|()| Class::Identical)
        }
        ("1", _, Err(Refusal::Usage(text))) => Err(format!("taken for a usage error: {text}")),
        ("1", _, Err(refusal)) if !refusal.to_string().is_empty() => Ok(Class::ErrorWithoutOutput),
        (exit, _, Ok(_)) => Err(format!("exit {exit} there, a result here")),
        (exit, _, Err(refusal)) => Err(format!("exit {exit} there, refused here: {refusal:?}")),
    }
}

/// Where the other tool crashes on its own output, ours has nothing to do.
fn changes_nothing_again(row: &Row, first: &Cleaned) -> Result<(), String> {
    let options = options(&row.flags);
    let again = |image: &[u8], what: &str| match clean(image, &options) {
        Err(refusal) => Err(format!("{what} is refused: {refusal}")),
        Ok(second) if second.changed || second.image != image => Err(format!("{what} is changed")),
        Ok(second) if (&second.descriptor, &second.me) != (&first.descriptor, &first.me) => {
            Err(format!("{what} gives another -D or -M"))
        }
        Ok(_) => Ok(()),
    };
    again(&first.image, "the cleaned image")?;
    let (Some(descriptor), Some(me)) = (&first.descriptor, &first.me) else { return Ok(()) };
    // As people put -D, -M and a larger BIOS region together.
    let region = |id: usize| {
        let at = 0x40 + 4 * id;
        let word = u32::from_le_bytes(descriptor[at..at + 4].try_into().unwrap()) as usize;
        ((word & 0x7fff) << 12, ((word >> 16 & 0x7fff) << 12) + 0x1000)
    };
    let mut rebuilt = first.image.clone();
    let ((bios, _), (start, end)) = (region(1), region(2));
    if end - start != me.len() {
        // BIOS does not follow, so the map was left alone and no image can be put together.
        return Ok(());
    }
    rebuilt[start..bios.max(end)].fill(0xaa);
    rebuilt[..descriptor.len()].copy_from_slice(descriptor);
    rebuilt[start..end].copy_from_slice(me);
    again(&rebuilt, "the rebuilt image")
}

fn is_contradicted(row: &Row) -> bool {
    let sets_straps = row.flags.split(' ').any(|flag| flag == "-S" || flag == "-s");
    row.exit == "0" && sets_straps && CONTRADICTED.contains(&row.image.as_str())
}

fn options(flags: &str) -> Options {
    let mut options = Options::default();
    let mut words = flags.split(' ');
    let list = |names: Option<&str>| names.map(|names| names.split(',').map(str::to_owned).collect());
    while let Some(word) = words.next() {
        match word {
            "(none)" => {}
            "-c" => options.check = true,
            "-S" => options.soft_disable = true,
            "-s" => options.soft_disable_only = true,
            "-r" => options.relocate = true,
            "-t" => options.truncate = true,
            "-k" => options.keep_modules = true,
            "-d" => options.lock_descriptor = true,
            "-w" => options.whitelist = list(words.next()),
            "-b" => options.blacklist = list(words.next()),
            "-D" => (options.extract_descriptor, _) = (true, words.next()),
            "-M" => (options.extract_me, _) = (true, words.next()),
            other => panic!("the table has an unknown flag {other}"),
        }
    }
    options
}

fn corpus() -> Option<(Vec<Row>, PathBuf, PathBuf)> {
    let Some(root) = env::var_os("OOB_CORPUS") else {
        say("skipped: golden rows of firmware clean: OOB_CORPUS is not set");
        return None;
    };
    let root = PathBuf::from(root).join("firmware");
    let built = env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS is set, so OOB_CORPUS_BUILT must be");
    let table = fs::read_to_string(root.join("me_cleaner-golden.tsv")).expect("the golden table is missing");
    let rows = table.lines().skip(1).map(|line| {
        let column: Vec<String> = line.split('\t').map(str::to_owned).collect();
        assert_eq!(column.len(), 12, "a row of another form: {line}");
        Row {
            image: column[0].clone(),
            image_sha256: column[1].clone(),
            flags: column[2].clone(),
            exit: column[3].clone(),
            out_sha256: column[6].clone(),
            descriptor_sha256: column[8].clone(),
            me_sha256: column[10].clone(),
        }
    });
    Some((rows.collect(), root, PathBuf::from(built)))
}

/// Straight to the descriptor: the test runner captures what the print macros write.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A 2 KiB descriptor without an upper map, in front of an ME 8 and FF: the strap is set where it belongs.
#[test]
fn a_short_descriptor_is_enough() {
    let Some((_, corpus, _)) = corpus() else { return };
    let descriptor = fs::read(corpus.join("descriptor/platform-sys__tests_me8.ifd")).unwrap();
    let me = fs::read(corpus.join("me/coreboot__google_link_me.bin")).unwrap();
    let mut image = vec![0xff; 16 << 20];
    image[..descriptor.len()].copy_from_slice(&descriptor);
    image[0x3000..0x3000 + me.len()].copy_from_slice(&me);
    let alone = clean(&image, &options("(none)")).unwrap();
    let both = clean(&image, &options("-S -d")).unwrap();
    let differing: Vec<usize> = (0..image.len()).filter(|at| alone.image[*at] != both.image[*at]).collect();
    assert_eq!(both.image[0x128], image[0x128] | 0x80);
    assert!(
        differing.contains(&0x128) && differing.iter().all(|at| *at == 0x128 || (0x64..0x68).contains(at))
    );
}

/// A dump that was cut off anywhere but in the padding behind the last partition.
#[test]
fn real_images_that_are_cut_off_are_refused() {
    let Some((rows, corpus, built)) = corpus() else { return };
    let mut names: Vec<&str> =
        rows.iter().filter(|row| row.exit == "0").map(|row| row.image.as_str()).collect();
    names.dedup();
    for name in names {
        let full = name.starts_with("full/");
        let image = fs::read(if full { &built } else { &corpus }.join(name)).unwrap();
        let last = if full { image.len() } else { image.len() - 0x60000 };
        for len in (0..last).step_by(0x7_b000 + 0x340).chain([image.len() - 1, image.len() / 2]) {
            assert!(clean(&image[..len], &options("-r")).is_err(), "{name} was cleaned at {len:#x}");
        }
    }
}
