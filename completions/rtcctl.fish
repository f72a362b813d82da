# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rtcctl_global_optspecs
    string join \n c/config= state= json q/quiet v/verbose color= y/yes no-input timeout= h/help V/version
end

function __fish_rtcctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rtcctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rtcctl_using_subcommand
    set -l cmd (__fish_rtcctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rtcctl -n "__fish_rtcctl_needs_command" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_needs_command" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_needs_command" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_needs_command" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_needs_command" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "init" -d 'Ask what cannot be found out, and write rtcctl.toml'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "up" -d 'Bring the stack up on this machine, prove it, and print the link'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "down" -d 'Stop it; with --purge remove everything `up` ever wrote'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "doctor" -d 'What is wrong, why, and which command mends it'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "explain" -d 'The page of a check: what, why, how to confirm, how to mend'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "status" -d 'What is running: release, listeners, certificate, rooms'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "logs" -d 'What the service said'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "call" -d 'Links that let people in: the right to open rooms'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "cert" -d 'Issue, list and show certificates; hand out and trust the local CA'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "config" -d 'The resolved config, its check, its schema, an annotated example'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "render" -d 'The files for nginx, systemd and compose, without touching the system'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "serve" -d 'The daemon in the foreground; what systemd runs'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "supervise" -d 'Keeps `serve` alive where there is no systemd'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "completions" -d 'Completion script for a shell'
complete -c rtcctl -n "__fish_rtcctl_needs_command" -f -a "man" -d 'Man pages: to stdout, or one file per command into DIR'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l address -d 'What people type into their browser: a name, an IP address, or "lan"' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l open-rooms -d 'Who may open rooms; whoever has a room\'s link may join it' -r -f -a "anyone\t''
hosts\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l ca -d 'Who vouches for the site: auto, or local for this machine\'s own authority' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l force -d 'Replace a file that is there; the old one is kept beside it'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand init" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l set -d 'Override a config key, as "site.https_port=8443"; may be repeated' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l dry-run -d 'Print what would be done, and touch nothing'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l no-test-call -d 'Do not prove the result by a test call'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand up" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l drain -d 'Wait at most this long for running calls to end, as "30s"' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l purge -d 'Remove everything that `up` ever wrote: releases, certificates, secrets, the local CA, unit and user'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand down" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l check -d 'Run only this check and what it needs; may be repeated' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l skip -d 'Leave this check out; may be repeated' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l user -d 'User name for a TURN server given as TARGET' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l password-file -d 'File with that user\'s password' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l list -d 'Print every check and run none'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l strict -d 'Exit 1 also for warnings and for what could not be looked at'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand explain" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s w -l watch -d 'Look again every second until Ctrl-C; with --json one object per line'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand status" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -l since -d 'Only what is younger: "10m", "2h", or a time as 2026-11-25T10:00:00Z' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s f -l follow -d 'Go on with what comes, until Ctrl-C'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand logs" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and not __fish_seen_subcommand_from invite" -f -a "invite" -d 'A host link and its QR code: the browser that opens it may open rooms'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l ttl -d 'How long the link may be opened, as "30m"; at most 7d [default: 2h]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l as-host -d 'The right to open rooms, where only hosts have it'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l revoke -d 'End every right given so far, and every host link'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand call; and __fish_seen_subcommand_from invite" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -f -a "issue" -d 'Make sure there is a certificate for the site\'s names, signed by the local CA'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -f -a "list" -d 'Every certificate in the store'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -f -a "show" -d 'Names, issuer, dates, fingerprint and files of one certificate'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -f -a "ca" -d 'The local CA: fingerprint, where phones get it, QR code, PEM'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -f -a "trust" -d 'Let this machine\'s system store and browsers trust the local CA'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and not __fish_seen_subcommand_from issue list show ca trust untrust" -f -a "untrust" -d 'Undo what `cert trust` did'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -l self-signed -d 'By the local CA, whatever the config says'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from issue" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l export -d 'Write the CA\'s certificate as PEM; "-" is stdout' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l qr -d 'Draw the link as a QR code'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from ca" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from trust" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand cert; and __fish_seen_subcommand_from untrust" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -f -a "show" -d 'The resolved config as TOML'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -f -a "check" -d 'Is the config right? Every problem at once, with line and hint'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -f -a "schema" -d 'The JSON schema of rtcctl.toml, for editors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and not __fish_seen_subcommand_from show check schema example" -f -a "example" -d 'An annotated rtcctl.toml with every key and its default'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -l origin -d 'Behind each key where its value comes from: default, file and line, variable'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand config; and __fish_seen_subcommand_from example" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -l diff -d 'Show what differs, and exit 1 if anything does: against DIR, or without it against what is installed'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand render" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand serve" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -l program -d 'What to keep alive [default: rtcctl of the current release]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand supervise" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand completions" -s V -l version -d 'Print version'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -s c -l config -d 'The config file [default: ./rtcctl.toml, then the user\'s, then that of /etc/rtcctl, then the one `up` applied]' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -l state -d 'Where certificates, secrets and releases are kept' -r -F
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -l color -d 'Colour on stderr: auto asks the terminal, NO_COLOR and CLICOLOR_FORCE' -r -f -a "auto\t''
always\t''
never\t''"
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -l timeout -d 'How long to wait for a lock or a service, as "30s" [default: 30s]' -r
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -l json -d 'One JSON object on stdout instead of text'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -s q -l quiet -d 'Only data, warnings and errors'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -s v -l verbose -d 'Say more; twice for everything'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -s y -l yes -d 'Answer every question with yes'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -l no-input -d 'Never ask; a question becomes an error that names the flag'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -s h -l help -d 'Print help'
complete -c rtcctl -n "__fish_rtcctl_using_subcommand man" -s V -l version -d 'Print version'
