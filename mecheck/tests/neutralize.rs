//! What neutralizing keeps, on images of our own (reference/me.md 2.1, 2.5): a kept partition is kept as a whole, and
//! what cannot be done within the region map is refused by name.

#![allow(clippy::expect_used, clippy::unwrap_used, dead_code, reason = "all of this is test code")]

mod images;

use images::{ME_BASE, Pch, full, gen1, gen2, gen3, put, put32};
use oob_mecheck::clean::{self, clean};
use oob_mecheck::gates::ChangeKind;
use oob_mecheck::neutralize::{Method, Options, Refusal, neutralize};

const MFS: std::ops::Range<usize> = ME_BASE + 0xb000..ME_BASE + 0xf000;

/// DLMP lies over the end of FTPR and the first page of MFS, as on real ME 11 images.
fn overlapping() -> Vec<u8> {
    let mut me = gen3(11, 3);
    put32(&mut me, 0x30 + 0x20 + 0xc, 0x3000);
    full(Pch::SunrisePointLp, &me)
}

fn cleaned(image: &[u8], keep: &[&str]) -> Result<Vec<u8>, Refusal> {
    let keep = keep.iter().map(|name| (*name).to_owned()).collect();
    let options = Options { method: Method::CleanAndSoftDisable, keep: Some(keep) };
    neutralize(image, &options).map(|done| done.image)
}

#[test]
fn a_kept_partition_keeps_what_a_removed_one_shares_with_it() {
    let image = overlapping();
    let spared = cleaned(&image, &["MFS"]).unwrap();
    assert!(spared[MFS] == image[MFS], "MFS is not what it was");
    // What DLMP has to itself goes.
    assert!(spared[ME_BASE + 0xa000..MFS.start].iter().all(|byte| *byte == 0xff));
    let removed = cleaned(&image, &[]).unwrap();
    assert!(removed[MFS].iter().all(|byte| *byte == 0xff));
    assert!(cleaned(&spared, &["MFS"]).unwrap() == spared, "a second run changes something");
}

/// `clean -w` promises the other tool's bytes, so it erases them, and says so.
#[test]
fn cleaning_as_the_other_tool_does_tells_what_is_lost() {
    let flags = |names: &[&str]| clean::Options {
        whitelist: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..clean::Options::default()
    };
    let told = |image: &[u8], names: &[&str]| {
        let warnings = clean(image, &flags(names)).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("lies over one that is kept"))
    };
    let image = overlapping();
    let done = clean(&image, &flags(&["MFS"])).unwrap();
    assert!(done.image[MFS.start..MFS.start + 0x1000].iter().all(|byte| *byte == 0xff));
    assert!(told(&image, &["MFS"]));
    assert!(!told(&image, &["NFTP"]));
    assert!(!told(&full(Pch::SunrisePointLp, &gen3(11, 3)), &["MFS"]));
}

/// A container and what it contains: keeping the inner one keeps it.
#[test]
fn what_lies_within_a_removed_container_is_kept() {
    let mut me = gen3(11, 3);
    // DLMP becomes a container over MFS and beyond, as FTUP is over NFTP.
    put(&mut me, 0x30 + 0x20, b"FTUP");
    put32(&mut me, 0x30 + 0x20 + 8, 0xa000);
    put32(&mut me, 0x30 + 0x20 + 0xc, 0x5800);
    let image = full(Pch::SunrisePointLp, &me);
    let done = cleaned(&image, &["MFS"]).unwrap();
    assert!(done[MFS] == image[MFS]);
    assert!(done[ME_BASE + 0xa000..MFS.start].iter().all(|byte| *byte == 0xff));
    assert!(done[MFS.end..ME_BASE + 0xf800].iter().all(|byte| *byte == 0xff));
}

/// Removing it changes the region map, which neutralizing promises not to do. Its two straps are told one by one.
#[test]
fn me_1_to_5_is_soft_disabled_and_its_removal_is_refused_by_name() {
    let image = full(Pch::Ich9, &gen1());
    let Err(Refusal::Impossible(why)) = cleaned(&image, &[]) else { panic!("removed") };
    assert!(why.contains("`firmware clean` does it"), "{why}");
    let done = neutralize(&image, &Options { method: Method::SoftDisable, keep: None }).unwrap();
    let told: Vec<_> = done.changes.iter().map(|it| (it.offset, it.length, it.new.clone())).collect();
    assert_eq!(told, [(0x100, 1, vec![1]), (0x200, 1, vec![1])]);
}

#[test]
fn a_strap_is_told_by_its_byte() {
    let image = full(Pch::CougarPoint, &gen2(8, 3));
    let done = neutralize(&image, &Options { method: Method::SoftDisable, keep: None }).unwrap();
    let told: Vec<_> = done.changes.iter().map(|it| (it.kind, it.offset, it.length)).collect();
    assert_eq!(told, [(ChangeKind::Strap, 0x128, 1)]);
}

/// A table that lies is a fault of the image, whatever method is asked for: there is no falling back to another one.
#[test]
fn a_partition_past_the_region_is_believed_by_no_method() {
    let mut me = gen3(11, 3);
    put32(&mut me, 0x30 + 3 * 0x20 + 0xc, 0x2_0000);
    let image = full(Pch::SunrisePointLp, &me);
    for method in [Method::SoftDisable, Method::CleanAndSoftDisable] {
        let refusal = neutralize(&image, &Options { method, keep: None }).unwrap_err();
        assert!(matches!(&refusal, Refusal::Invalid(why) if why.contains("NFTP")), "{method:?}: {refusal}");
    }
}
