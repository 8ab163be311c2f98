//! In which states of the machine AMT stays on: one of the schemes that this machine offers is put in force. What a
//! scheme means, firmware tells in words; which one is in force, an association.

use oob_policy::{PowerWish, shown};
use oob_wsman::classes::power_scheme::{ElementSettingData, Stays, SystemPowerScheme, set_power_scheme};

use super::failure::Failure;
use super::proof::Client;
use super::settings::{mutating, refused};

const WHAT: &str = "power scheme";

/// Puts a scheme of that meaning in force, where none is.
pub(super) async fn write(admin: &mut Client<'_, '_>, wish: PowerWish) -> Result<(), Failure> {
    let schemes = Schemes::read(admin).await?;
    if schemes.current_fits(wish) {
        return Ok(());
    }
    let Some(instance) = schemes.fitting(wish) else {
        let offered: Vec<String> =
            schemes.offered.iter().filter_map(|it| it.description.as_deref()).map(shown).collect();
        return Err(Failure::impossible(
            "power-scheme-absent",
            format!(
                "this AMT offers no power scheme that means `power = \"{}\"`; it offers: {}",
                wish.word(),
                if offered.is_empty() { "none".to_owned() } else { offered.join("; ") }
            ),
        ));
    };
    mutating(WHAT, admin.invoke(&set_power_scheme(instance))).await
}

/// Reads which one is in force.
pub(super) async fn check(admin: &mut Client<'_, '_>, wish: PowerWish) -> Result<(), Failure> {
    let schemes = Schemes::read(admin).await?;
    if schemes.current_fits(wish) {
        return Ok(());
    }
    let seen = schemes.current.as_deref().map_or_else(|| "none".to_owned(), shown);
    let text = format!("AMT accepted `power = {}`, and scheme {seen} is in force afterwards", wish.word());
    Err(Failure::unchanged("setting-not-kept", text))
}

struct Schemes {
    offered: Vec<SystemPowerScheme>,
    /// `InstanceID` of the one in force.
    current: Option<String>,
}

impl Schemes {
    async fn read(admin: &mut Client<'_, '_>) -> Result<Self, Failure> {
        let offered = admin.enumerate::<SystemPowerScheme>().await.map_err(|error| refused(WHAT, &error))?;
        let held = admin.enumerate::<ElementSettingData>().await.map_err(|error| refused(WHAT, &error))?;
        let current = held.iter().find_map(ElementSettingData::current_power_scheme).map(str::to_owned);
        Ok(Self { offered, current })
    }

    fn current_fits(&self, wish: PowerWish) -> bool {
        let current =
            self.offered.iter().find(|it| it.instance_id.is_some() && it.instance_id == self.current);
        current.is_some_and(|it| it.stays() == Some(meaning(wish)))
    }

    fn fitting(&self, wish: PowerWish) -> Option<&str> {
        self.offered.iter().find(|it| it.stays() == Some(meaning(wish)))?.instance_id.as_deref()
    }
}

fn meaning(wish: PowerWish) -> Stays {
    match wish {
        PowerWish::HostOn => Stays::HostOn,
        PowerWish::Always => Stays::Always,
    }
}
