//! me_cleaner's own flags, and which of them go together (reference/me.md 2.4 step 0).

use super::Refusal;

/// What to do. The default removes what can be removed and sets no strap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-S`: also set the soft-disable strap.
    pub soft_disable: bool,
    /// `-s`: set the soft-disable strap and remove nothing.
    pub soft_disable_only: bool,
    /// `-r`: move FTPR to the top of the ME region.
    pub relocate: bool,
    /// `-t`: cut off what is empty; of a full image that shows in `-D` and `-M` alone.
    pub truncate: bool,
    /// `-k`: leave FTPR's modules.
    pub keep_modules: bool,
    /// `-w`: partitions to keep besides FTPR.
    pub whitelist: Option<Vec<String>>,
    /// `-b`: remove these partitions and no other.
    pub blacklist: Option<Vec<String>>,
    /// `-d`: take away the ME's access to other regions.
    pub lock_descriptor: bool,
    /// `-D`: give the descriptor of the result.
    pub extract_descriptor: bool,
    /// `-M`: give the ME region of the result.
    pub extract_me: bool,
    /// `-c`: look, change nothing.
    pub check: bool,
    /// Not a flag: what a removed partition shares with one that is kept stays. me_cleaner erases it: on ME 11 DLMP lies
    /// over the first page of MFS, and `-w MFS` leaves an MFS without that page.
    pub spare_kept: bool,
}

impl Options {
    /// # Errors
    /// [`Refusal::Usage`] where flags contradict each other.
    pub fn validate(&self) -> Result<(), Refusal> {
        let contradictions = [
            (self.soft_disable && self.soft_disable_only, "-S and -s exclude each other"),
            (self.whitelist.is_some() && self.blacklist.is_some(), "-w and -b exclude each other"),
            (
                self.check && (self.sets_straps() || self.relocate || self.truncate || self.lock_descriptor),
                "-c changes nothing, so it does not go with -S, -s, -r, -t or -d",
            ),
            (
                self.soft_disable_only && (self.relocate || self.truncate),
                "-s removes nothing, so it does not go with -r or -t",
            ),
            (
                self.relocate && (self.whitelist.is_some() || self.blacklist.is_some()),
                "-r moves FTPR alone, so it does not go with -w or -b",
            ),
        ];
        match contradictions.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(Refusal::Usage(why.into())),
            None => Ok(()),
        }
    }

    pub(super) fn sets_straps(&self) -> bool {
        self.soft_disable || self.soft_disable_only
    }

    pub(super) fn removes_code(&self) -> bool {
        !self.check && !self.soft_disable_only
    }

    pub(super) fn whitelists(&self, name: &str) -> bool {
        self.whitelist.as_ref().is_some_and(|names| names.iter().any(|it| it == name))
    }

    /// Whether a partition of this name stays (reference/me.md 2.4 step 11).
    pub(super) fn keeps(&self, name: &str) -> bool {
        let spared = || self.blacklist.as_ref().is_some_and(|names| !names.iter().any(|it| it == name));
        name == super::found::FTPR || self.whitelists(name) || spared()
    }

    /// Whether the header's flag for an EFFS partition is cleared (reference/me.md 2.4 step 13).
    pub(super) fn drops_effs_flag(&self) -> bool {
        match &self.blacklist {
            Some(names) => names.iter().any(|name| name == "EFFS"),
            None => !self.whitelists("EFFS"),
        }
    }
}
