//! Nothing secret leaks: a whole run at trace level, agent and simulator, and then every file, stream, argument list
//! and environment is searched for what must not be there.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use oob_tests::provisioning::{PASSPHRASE, SETTINGS, fixture, leaf_key, policy, raise_serial};
use oob_tests::server::closed_port;
use oob_tests::{Machine, agent_command, files, scratch, text};

use crate::honesty::sealed;
use crate::known::{of_others, taking};
use crate::remote::Ours;

use crate::use_ccm::{arguments, escrow_files, open};
use crate::{lockdown_whole, upgrade, use_acm};

#[test]
fn nothing_secret_is_written_anywhere() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--trace"]);
    let out = scratch.path().join("out");
    let mut searched: Vec<(String, Vec<u8>)> = Vec::new();
    for log_format in ["text", "json"] {
        searched.extend(watch(&arguments(&machine, &out), log_format));
    }
    for directory in [&out, &machine.dir] {
        for file in files(directory) {
            searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
        }
    }

    let realm = machine.state()["realm"].as_str().unwrap().to_owned();
    let secret = open(&escrow_files(&out)[0]);
    let password = secret["password"].as_str().unwrap().to_owned();
    let needles = needles(&realm, &password, &local_account_password(&machine.dir));
    assert_in_none(&searched, &needles);
    // The search itself works: the realm is no secret, and is found.
    assert!(
        searched.iter().any(|(_, bytes)| contains(bytes, realm.as_bytes())),
        "the search finds nothing at all"
    );
    assert!(searched.len() > 20, "only {} places were searched", searched.len());
}

#[test]
fn nothing_secret_of_admin_control_mode_is_written_anywhere() {
    let key = leaf_key().serialize_der();
    for (log_format, profile) in
        [("text", "vpro-desktop-amt16"), ("json", "vpro-desktop-amt16"), ("text", "vpro-desktop-amt19")]
    {
        let scratch = scratch();
        let passphrase = scratch.path().join("passphrase");
        fs::write(&passphrase, PASSPHRASE).unwrap();
        let policy = policy(
            scratch.path(),
            &format!(
                "control_mode = \"acm\", certificate = \"file:{}\", certificate_passphrase = \"file:{}\", {SETTINGS}",
                fixture("modern.p12").display(),
                passphrase.display()
            ),
        );
        let root = fixture("root.pem");
        let options = ["--trace", "--trusted-root", root.to_str().unwrap()];
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &options);
        let out = scratch.path().join("out");
        let mut searched = watch(&use_acm::arguments(&machine, &policy, &out), log_format);
        for directory in [&out, &machine.dir] {
            for file in files(directory) {
                searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
            }
        }
        let realm = machine.state()["realm"].as_str().unwrap().to_owned();
        let password = |channel: &str| sealed(&out, channel)[0]["password"].as_str().unwrap().to_owned();
        let mebx = password("amt-mebx");
        let mut needles = needles(&realm, &password("amt"), &local_account_password(&machine.dir));
        needles.extend(forms("the MEBx password", mebx.as_bytes()));
        needles.extend(forms("the certificate's passphrase", PASSPHRASE.as_bytes()));
        // The end of a key has nothing that the certificate has, too.
        for (part, bytes) in
            ["exponent", "prime", "coefficient"].iter().zip(key[key.len() - 900..].chunks(300))
        {
            needles.extend(forms(&format!("the private key ({part})"), &bytes[100..148]));
        }
        assert_in_none(&searched, &needles);
        // The search itself works: it finds the realm, which is no secret, and the key in a file that has it.
        assert!(
            searched.iter().any(|(_, bytes)| contains(bytes, realm.as_bytes())),
            "nothing is found at all"
        );
        let file = unbroken(leaf_key().serialize_pem().as_bytes());
        let found = |(_, needle): &&(String, Vec<u8>)| contains(&file, needle);
        assert_eq!(needles.iter().filter(found).count(), 3, "each part of the key once, in base64");
        assert!(searched.len() > 20, "only {} places were searched", searched.len());
    }
}

#[test]
fn nothing_secret_of_a_look_from_another_host_is_written_anywhere() {
    let scratch = scratch();
    let ours = Ours::with_tls(scratch.path(), "vpro-desktop-amt16", "required");
    let arguments = ours.arguments(&ours.at("16993"), &ours.credential, &closed_port());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut searched = Vec::new();
    for log_format in ["text", "json"] {
        searched.extend(watch(&arguments, log_format));
    }
    for file in files(&ours.out) {
        searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
    }
    let realm = ours.machine.state()["realm"].as_str().unwrap().to_owned();
    let password = sealed(&ours.out, "amt")[0]["password"].as_str().unwrap().to_owned();
    assert_in_none(&searched, &needles(&realm, &password, &local_account_password(&ours.machine.dir)));
    // The search itself works: the realm is no secret, and stands in the event of this look.
    assert!(searched.iter().any(|(_, bytes)| contains(bytes, b"verified_remote")), "nothing is found at all");
}

#[test]
fn a_credential_that_was_given_is_written_nowhere() {
    for log_format in ["text", "json"] {
        let scratch = scratch();
        let (machine, known) = of_others(scratch.path(), &["--trace"]);
        let secret: serde_json::Value = serde_json::from_slice(&fs::read(&known).unwrap()).unwrap();
        let given = secret["password"].as_str().unwrap().to_owned();
        let (policy, out) =
            (taking(scratch.path(), ", sol = true, tls = \"required\""), scratch.path().join("out"));
        let mut arguments = use_acm::arguments(&machine, &policy, &out).to_vec();
        arguments.extend(["--known-credential", known.to_str().unwrap()]);
        let mut searched = watch(&arguments, log_format);
        for directory in [&out, &machine.dir] {
            for file in files(directory) {
                searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
            }
        }
        let realm = machine.state()["realm"].as_str().unwrap().to_owned();
        let new = sealed(&out, "amt")[0]["password"].as_str().unwrap().to_owned();
        assert_ne!(new, given);
        for password in [&given, &new] {
            assert_in_none(&searched, &needles(&realm, password, &local_account_password(&machine.dir)));
        }
        let found = fs::read(&known).unwrap();
        assert!(contains(&found, given.as_bytes()), "the search finds it where it is");
    }
}

#[test]
fn a_wifi_passphrase_is_written_nowhere() {
    const PASSPHRASE: &str = "correct-horse-battery-staple";
    for log_format in ["text", "json"] {
        let scratch = scratch();
        let file = scratch.path().join("wifi");
        fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
        let wishes = format!(
            "control_mode = \"ccm\", wifi_ssid = \"Acme\", wifi_security = \"wpa2-psk\", wifi_passphrase = \"file:{}\"",
            file.display()
        );
        let policy = policy(scratch.path(), &wishes);
        let machine = Machine::start("vpro-laptop-wifi-amt16", &scratch.path().join("vpro"), &["--trace"]);
        let out = scratch.path().join("out");
        let mut searched = watch(&use_acm::arguments(&machine, &policy, &out), log_format);
        for directory in [&out, &machine.dir] {
            for file in files(directory) {
                searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
            }
        }
        // The escrow opens to the one password that is in it.
        for secret in ["amt", "amt-mebx"].into_iter().flat_map(|channel| sealed(&out, channel)) {
            searched.push(("escrow".to_owned(), secret.to_string().into_bytes()));
        }
        assert_eq!(machine.state()["settings"]["wifi"]["profiles"].as_object().unwrap().len(), 1);
        assert_in_none(&searched, &forms("the Wi-Fi passphrase", PASSPHRASE.as_bytes()));
        assert!(
            searched.iter().any(|(_, bytes)| contains(bytes, b"wifi_ssid = Acme")),
            "nothing is found at all"
        );
        let found = fs::read(&file).unwrap();
        assert!(contains(&found, PASSPHRASE.as_bytes()), "the search finds it where it is");
    }
}

/// The realm that a run was about, which is another one once AMT is unprovisioned.
fn realm_told(searched: &[(String, Vec<u8>)]) -> String {
    let stdout = &searched.iter().find(|(place, _)| place == "stdout").expect("the run's stdout").1;
    let result: serde_json::Value = serde_json::from_slice(stdout).expect("stdout is JSON");
    let outcomes = result["outcomes"].as_array().expect("outcomes");
    outcomes.iter().find_map(|it| it["evidence"]["realm"].as_str()).expect("a realm").to_owned()
}

#[test]
fn nothing_secret_of_a_lockdown_is_written_anywhere() {
    for log_format in ["text", "json"] {
        let scratch = scratch();
        let story = lockdown_whole::Story::new("vpro-desktop-amt16-1", scratch.path(), &["--trace"]);
        let local = local_account_password(&story.machine.dir);
        let mut searched = watch(&use_acm::arguments(&story.machine, &story.asking, &story.out), log_format);
        let realm = realm_told(&searched);
        for directory in [&story.out, &story.machine.dir] {
            for file in files(directory) {
                searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
            }
        }
        let password =
            |channel: &str| sealed(&story.out, channel)[0]["password"].as_str().unwrap().to_owned();
        let mut needles = needles(&realm, &password("amt"), &local);
        needles.extend(forms("the MEBx password", password("amt-mebx").as_bytes()));
        assert_in_none(&searched, &needles);
        assert!(
            searched.iter().any(|(_, bytes)| contains(bytes, realm.as_bytes())),
            "nothing is found at all"
        );
    }
}

#[test]
fn a_credential_that_takes_amt_up_and_out_is_written_nowhere() {
    let scratch = scratch();
    let story = upgrade::Story::new("vpro-desktop-amt16", scratch.path(), "acm", &["--trace"]);
    let local = local_account_password(&story.machine.dir);
    let secret: serde_json::Value = serde_json::from_slice(&fs::read(&story.file).unwrap()).unwrap();
    let elsewhere = scratch.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let out = policy(&elsewhere, "provisioned = false");
    raise_serial(&out, 3);
    for (asking, log_format) in [(&story.asking, "text"), (&out, "json")] {
        let mut arguments = use_acm::arguments(&story.machine, asking, &story.out).to_vec();
        arguments.extend(["--known-credential", story.file.to_str().unwrap()]);
        let mut searched = watch(&arguments, log_format);
        let realm = realm_told(&searched);
        for directory in [&story.out, &story.machine.dir] {
            for file in files(directory) {
                searched.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
            }
        }
        assert_in_none(&searched, &needles(&realm, secret["password"].as_str().unwrap(), &local));
    }
    assert_eq!(story.machine.state()["control_mode"], 0, "up, and out");
}

/// Runs the agent at trace level; what it wrote to its streams, and what others can see of its start.
fn watch(arguments: &[&str], log_format: &str) -> Vec<(String, Vec<u8>)> {
    let mut searched = Vec::new();
    let mut agent = agent_command()
        .args(arguments)
        .args(["-vvv", "--log-format", log_format])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting oob-agent");
    for view in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{view}", agent.id())).unwrap_or_default();
        searched.push((view.to_owned(), bytes));
    }
    let mut stderr = agent.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        bytes
    });
    let done = agent.wait_with_output().expect("running oob-agent");
    let stderr = reader.join().expect("reading stderr");
    assert!(done.status.success(), "{}", text(&stderr));
    assert!(stderr.len() > 1000, "trace level says more than {} bytes", stderr.len());
    searched.push((format!("stderr ({log_format})"), stderr));
    searched.push(("stdout".to_owned(), done.stdout));
    searched
}

fn assert_in_none(searched: &[(String, Vec<u8>)], needles: &[(String, Vec<u8>)]) {
    for (place, bytes) in searched {
        // Base64 may be broken into lines.
        let unbroken = unbroken(bytes);
        for (what, needle) in needles {
            assert!(!contains(bytes, needle) && !contains(&unbroken, needle), "{what} stands in {place}");
        }
    }
}

fn unbroken(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

/// Bytes as they may be written down: as they are, in hex, and in base64 wherever they begin in it.
fn forms(what: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        (what.to_owned(), bytes.to_vec()),
        (format!("{what} in hex"), hex.clone().into_bytes()),
        (format!("{what} in upper case hex"), hex.to_uppercase().into_bytes()),
    ];
    for skipped in 0..3 {
        let whole = &bytes[skipped..skipped + (bytes.len() - skipped) / 3 * 3];
        forms.push((format!("{what} in base64"), STANDARD.encode(whole).into_bytes()));
    }
    forms
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn needles(realm: &str, password: &str, local: &str) -> Vec<(String, Vec<u8>)> {
    assert!(password.len() >= 20 && local.len() >= 8, "the secrets are there to be looked for");
    let mut needles = Vec::new();
    for (user, secret) in [("admin", password), ("$$OsAdmin", local)] {
        let ha1 = Md5::digest(format!("{user}:{realm}:{secret}"));
        let hex: String = ha1.iter().map(|byte| format!("{byte:02x}")).collect();
        needles.push((format!("the password of {user}"), secret.as_bytes().to_vec()));
        needles.push((format!("the password of {user} in base64"), STANDARD.encode(secret).into_bytes()));
        needles.push((format!("HA1 of {user}"), hex.clone().into_bytes()));
        needles.push((format!("HA1 of {user} in upper case"), hex.to_uppercase().into_bytes()));
        needles.push((format!("HA1 of {user} in base64"), STANDARD.encode(ha1).into_bytes()));
        needles.push((format!("HA1 of {user}, raw"), ha1.to_vec()));
    }
    needles
}

/// Asks the simulated firmware for its local account as any root process could (PTHI 0x67), with bytes written here.
fn local_account_password(machine: &Path) -> String {
    let mut request = vec![1, 1, 0, 0, 0x67, 0, 0, 4, 40, 0, 0, 0];
    request.resize(12 + 40, 0);
    let reply = oob_tests::pthi(machine, &request);
    assert_eq!(&reply[12..16], [0; 4], "status of the local account request");
    let password = &reply[16 + 33..16 + 66];
    let end = password.iter().position(|byte| *byte == 0).unwrap_or(password.len());
    String::from_utf8(password[..end].to_vec()).unwrap()
}
