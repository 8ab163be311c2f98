//! A case for `decide`: a simulated machine with AMT 16 that nobody has set up, and the policy that uses it.

#![allow(dead_code, unreachable_pub)] // a module of several tests: each takes what it needs

use oob_policy::{
    AmtOurs, Assessment, CleanVerdict, Context, Detection, EXAMPLE_RECIPIENTS, Exit, Fact, Firmware, History,
    ImageSource, OpenChange, Outcome, Plan, Policy, PolicyTrust, Report, RootKind, SoftDisable, StepKind,
    assess, decide,
};

pub const NOW: i64 = 1_800_000_000; // 2027-01-15
pub const SHA256: &str = "aa";

#[derive(Clone)]
pub struct Case {
    pub policy: Policy,
    pub detection: Detection,
    pub history: History,
    pub context: Context,
}

impl Case {
    /// `use` of AMT, by the rule `all` on line 9.
    pub fn using(settings: &str) -> Self {
        Self::new(&format!(
            "[[rule]]\nid = \"all\"\nmatch = {{ platform = \"intel\" }}\naction = \"use\"\n{settings}\n"
        ))
    }

    pub fn neutralizing(methods: &str) -> Self {
        Self::new(&format!(
            "[[rule]]\nid = \"all\"\nmatch = {{ form_factor = \"desktop\" }}\naction = \"neutralize\"\n\
             neutralize = {{ methods = {methods} }}\n"
        ))
    }

    pub fn new(rules: &str) -> Self {
        Self {
            policy: policy(rules),
            detection: Detection::new(RootKind::Simulated, Some("d1-abc".to_owned()), facts()),
            history: History::default(),
            context: Context {
                root: RootKind::Simulated,
                site: None,
                role: None,
                now: NOW,
                clock_trusted: true,
                trust: PolicyTrust::Unsigned,
                weak_id: false,
                escrow_not_durable: None,
                firmware: None,
                flash_unread: None,
                certificate: None,
                tls_ca_unusable: None,
                named: Default::default(),
                known_credential: false,
                rotate: false,
            },
        }
    }

    pub fn fact(mut self, name: &str, value: &str) -> Self {
        self.detection.facts.retain(|fact| fact.name != name);
        self.detection.facts.push(match value {
            "unknown" => Fact::unknown(name, "test", "nobody\u{1b}[2J knows"),
            value => Fact::observed(name, value, "test"),
        });
        self
    }

    pub fn amt(self, provisioning: &str, mode: &str) -> Self {
        self.fact("intel.amt.provisioning", provisioning).fact("intel.amt.control_mode", mode)
    }

    pub fn ours(mut self, generation: u32) -> Self {
        self.history.amt = Some(AmtOurs {
            generation,
            realm: "Digest:00".to_owned(),
            control_mode: "ccm".to_owned(),
            event: "e1-proof".to_owned(),
            escrow: format!("amt.{generation}.0000000000000000.age"),
            sealed: true,
            recipients: Vec::new(),
            settings: Vec::new(),
            tls_pin: None,
            tls_leaf: None,
            network_pin: None,

            sealed_by: None,
            mebx_escrow: None,
        });
        self
    }

    pub fn open(mut self, generation: u32, call_sent: bool) -> Self {
        let (realm, escrow) = ("Digest:00".to_owned(), "amt.2.0000000000000000.age".to_owned());
        self.history.open = Some(OpenChange {
            generation,
            realm,
            escrow,
            call_sent,
            tls_pin: None,
            rotation: false,
            run_id: String::new(),
            earlier: Vec::new(),
        });
        self
    }

    pub fn image(mut self, soft_disable: SoftDisable) -> Self {
        self.context.firmware = Some(Firmware {
            source: ImageSource::Given,
            sha256: "bb".to_owned(),
            size: 1 << 24,
            me_version: Some("16.0.15.1810".to_owned()),
            generation: None,
            pch: None,
            soft_disable,
            clean: CleanVerdict::Refused("nothing was looked at".to_owned()),
            keep: Vec::new(),
            boot_guard: None,
            warnings: Vec::new(),
            clean_warnings: Vec::new(),
        });
        self
    }

    /// An image of ME 11, which is what runs.
    pub fn me11(self, clean: CleanVerdict, soft_disable: SoftDisable) -> Self {
        let mut case = self.image(soft_disable).fact("intel.me.version", "11.8.80.3746");
        if let Some(firmware) = &mut case.context.firmware {
            firmware.me_version = Some("11.8.80.3746".to_owned());
            firmware.clean = clean;
            firmware.keep = vec!["MFS".to_owned()];
        }
        case
    }

    pub fn firmware(mut self, change: impl FnOnce(&mut Firmware)) -> Self {
        change(self.context.firmware.as_mut().expect("an image"));
        self
    }

    pub fn pch(mut self, family: &str) -> Self {
        if let Some(firmware) = &mut self.context.firmware {
            firmware.pch = Some(family.to_owned());
        }
        self
    }

    pub fn context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self.detection.root = self.context.root;
        self
    }

    pub fn history(mut self, change: impl FnOnce(&mut History)) -> Self {
        change(&mut self.history);
        self
    }

    /// A real machine under a signed-off policy.
    pub fn live(self) -> Self {
        self.context(|it| {
            it.root = RootKind::Live;
            it.trust = PolicyTrust::UnsignedAllowed;
        })
    }

    /// Recipients of their own instead of the published ones.
    pub fn own_recipients(mut self) -> Self {
        for (recipient, last) in self.policy.recipients.iter_mut().zip(["q", "p"]) {
            recipient.key = format!("age1{}", last.repeat(58)); // decide does not check it again
        }
        self
    }

    pub fn plan(&self) -> Plan {
        decide(&self.policy, &self.detection, &self.history, &self.context)
    }

    /// What is told of the case where its plan ended with these outcomes.
    pub fn report(&self, outcomes: &[Outcome]) -> Report {
        assess(&Assessment {
            policy: &self.policy,
            detection: &self.detection,
            history: &self.history,
            context: &self.context,
            plan: &self.plan(),
            outcomes,
            device_id: "d1-abc",
            run_id: "0190-run",
            time: "2027-01-15T08:00:00Z",
            version: "0.1.0",
        })
    }

    /// The ids of the plan's steps.
    pub fn steps(&self) -> Vec<String> {
        self.plan().steps.into_iter().map(|step| step.id).collect()
    }

    /// The exit and text of the plan's only refusal.
    pub fn refusal(&self) -> (Exit, String, String) {
        let plan = self.plan();
        assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps);
        match &plan.steps[0].what {
            StepKind::Refuse { exit, cause, text } => (*exit, cause.clone(), text.clone()),
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub fn policy(rules: &str) -> Policy {
    let source = format!(
        "schema = 1\n[policy]\nname = \"acme\"\nserial = 7\nnot_after = 2027-06-30\n[defaults]\naction = \"ignore\"\n\
         {rules}\n\
         [[escrow.recipient]]\nname = \"ops\"\nrole = \"ops\"\nkey = \"{}\"\nnot_after = 2028-01-01\n\
         [[escrow.recipient]]\nname = \"safe\"\nrole = \"break-glass\"\nkey = \"{}\"\n",
        EXAMPLE_RECIPIENTS[0], EXAMPLE_RECIPIENTS[1]
    );
    let (policy, diagnostics) = Policy::parse(&source, "policy.toml", SHA256);
    policy.unwrap_or_else(|| panic!("{}", oob_policy::render(&diagnostics, &source, "policy.toml", false)))
}

fn facts() -> Vec<Fact> {
    let observed = |(name, value): (&str, &str)| Fact::observed(name, value, "test");
    let texts = [
        ("host.vendor", "Dell Inc."),
        ("host.product", "OptiPlex 7000 "),
        ("host.sku", "0AC4"),
        ("host.serial", "5CG1234ABC"),
        ("host.uuid", "4c4c4544-0042-3510-8052-b4c04f4d3933"),
        ("host.form_factor", "desktop"),
        ("host.cpu.vendor", "intel"),
        ("virt.hypervisor", "none"),
        ("cloud.provider", "none"),
        ("intel.me.version", "16.0.15.1810"),
        ("intel.amt.version", "16.0.15"),
        ("intel.amt.verdict", "capable"),
        ("intel.amt.provisioning", "pre"),
        ("intel.amt.control_mode", "none"),
        ("dash.nic", "absent"),
        ("bmc.verdict", "absent"),
    ];
    let mut facts: Vec<Fact> = texts.into_iter().map(observed).collect();
    facts.push(Fact::observed("host.macs", vec!["00:1b:21:aa:bb:cc", "00:1b:21:aa:bb:cd"], "test"));
    facts
}
