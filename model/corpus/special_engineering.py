"""Grammars of release notes and incident reports.

Every section has pools by aim; the pool "*" is shared by all aims.
"""

from facts import lines

RELEASE_FACTS = "repository version author change_count change branch state check".split()
INCIDENT_FACTS = ("incident service environment detected_at resolved_at duration status "
                  "ticket reporter version").split()


def pools(**by_aim):
    return {k: lines(v) for k, v in by_aim.items()}


RELEASE_AIMS = {
    "describe a release": "release", "describe a push": "push",
    "describe a merged change": "merge", "describe a build": "build",
    "describe a deployment": "deploy", "describe an artifact": "artifact",
    "describe a branch": "branch", "describe a test run": "test",
    "describe a ticket": "ticket", "": "release",
}

RELEASE_OPEN = {
    "release": """
        Version [version] of [repository] is now available.
        With [version], a new release of [repository] is ready for use.
        A new release of [repository] has been published.
        [author] has published version [version] of [repository].
        This release of [repository] was prepared by [author].
        Release [version] brings the latest changes to all users.
        A new release is available and contains the latest changes.
        """,
    "push": """
        [author] has pushed new changes to [repository].
        New changes were pushed to the branch [branch] of [repository].
        The branch [branch] has received new changes from [author].
        The latest push to [repository] updates the branch [branch].
        New changes have been pushed to [repository].
        A push has brought new changes into the code.
        [author] pushed new work to the branch [branch].
        """,
    "merge": """
        A change by [author] was merged into [repository].
        The change [change] has been merged into [repository].
        [author] contributed the change [change], which is now merged.
        The branch [branch] of [repository] now contains a merged change.
        A reviewed change has been merged into the code.
        With this merge, [change] becomes part of [repository].
        """,
    "build": """
        A new build of [repository] has been completed.
        The build of [repository] on the branch [branch] has finished.
        The latest build was started by [author].
        A build has finished, and its state is [state].
        The build of version [version] has been completed.
        A new build has been completed.
        """,
    "deploy": """
        Version [version] of [repository] has been deployed.
        A deployment of [repository] has taken place.
        [author] started a deployment of [repository].
        The deployment of [version] has been carried out.
        A new deployment has been carried out.
        The deployment of [repository] is recorded with the state [state].
        """,
    "artifact": """
        A new artifact of [repository] has been published.
        The artifact for version [version] is now available.
        [author] has published a new artifact of [repository].
        A new artifact is available for use in other projects.
        The artifact of [repository] with version [version] was added to the store.
        """,
    "branch": """
        The branch [branch] was created in [repository].
        [author] created the branch [branch] in [repository].
        A new branch has been opened in [repository].
        Work on a new topic begins on the branch [branch].
        A new branch is available for further work.
        """,
    "test": """
        A test run of [repository] has been completed.
        The tests on the branch [branch] of [repository] have finished.
        The test run [check] has been completed.
        The latest test run has finished with the state [state].
        A test run has been completed for version [version].
        A test run has been completed.
        """,
    "ticket": """
        A ticket for [repository] has been updated.
        The ticket on [change] was opened by [author].
        [author] has updated a ticket in [repository].
        A ticket has been recorded and is now being followed up.
        The state of the ticket is [state].
        The ticket concerns [change] in [repository].
        """,
}
RELEASE_OPEN = {k: lines(v) for k, v in RELEASE_OPEN.items()}

RELEASE_FACT_LINES = lines("""
    The work was prepared by [author].
    The author is [author].
    It contains [change_count] changes.
    In total, the number of changes is [change_count].
    The update covers [change_count] changes by [author].
    The most important change is [change].
    The main point is [change].
    Users should note the change [change].
    The changes are on the branch [branch].
    The work took place on the branch [branch] of [repository].
    The branch concerned is [branch].
    The current state is [state].
    Its state is recorded as [state].
    The check [check] ended with the state [state].
    The check [check] was run as usual.
    The result of the check [check] is available to the team.
    The version is [version].
    The change belongs to version [version].
    The code is kept in [repository].
    The repository concerned is [repository].
    [author] is the contact for questions about this work.
    """)

RELEASE_MID = {
    "release": """
        The release improves stability and makes daily use easier.
        All changes were reviewed before they were included.
        Several small faults have been corrected.
        The release was tested before it was published.
        No special preparation is needed for most users.
        """,
    "push": """
        The changes are now open for review.
        The automated checks start after every push.
        Other developers should update their local copies.
        The changes will be part of a later release.
        """,
    "merge": """
        The change was reviewed before the merge.
        Other branches should be brought up to date soon.
        The change will be part of the next release.
        The merge was completed without open comments.
        """,
    "build": """
        The result can be used for further tests.
        The log of the build is available to the team.
        The build uses the current state of the code.
        If the build fails, the cause is examined first.
        """,
    "deploy": """
        The system is being watched closely after the deployment.
        Users do not need to take any action.
        A way back to the earlier version is available.
        The logs are checked for unusual messages.
        """,
    "artifact": """
        The artifact can be used by other projects.
        Earlier artifacts remain available.
        The artifact was built from reviewed code.
        Please check the version before you use it.
        """,
    "branch": """
        The branch is meant for work that is not yet ready for release.
        Changes on the branch do not affect users.
        The branch will be merged once the work has been reviewed.
        Commits should be small and well described.
        """,
    "test": """
        The results show whether the code behaves as expected.
        Failed tests are examined before the work continues.
        The test log is available to all developers.
        The tests cover the most important functions.
        """,
    "ticket": """
        The ticket describes the problem and the expected result.
        Progress can be followed in the ticket.
        Further details will be added as the work continues.
        The ticket will be closed when the result has been confirmed.
        """,
}
RELEASE_MID = {k: lines(v) for k, v in RELEASE_MID.items()}

RELEASE_SECTIONS = {
    "Summary": dict(open=RELEASE_OPEN, mid=RELEASE_MID, facts=RELEASE_FACT_LINES, close=lines("""
        Feedback from users and developers is welcome.
        Questions can be sent to the engineering team.
        The details are listed in the following section.
        Further steps will be announced by the team.
        Thank you to everyone who contributed.
        """)),
    "Changes": dict(open={k: lines("""
        The work in [repository] covers [change_count] changes.
        The number of changes is [change_count].
        The most important change is [change].
        The main change in [repository] is [change].
        This section describes the changes in [repository].
        The changes were made by [author].
        [author] contributed the change [change].
        The changes concern the branch [branch].
        The changes in version [version] are described here in short form.
        The following changes are included.
        """) for k in RELEASE_OPEN}, mid={k: v + lines("""
        Each change was reviewed by a second person.
        The changes make the code easier to maintain.
        Existing functions continue to work as before.
        The full list of changes can be found in the history.
        Related documentation was updated where necessary.
        Some parts were simplified without a change in behaviour.
        """) for k, v in RELEASE_MID.items()}, facts=RELEASE_FACT_LINES, close=lines("""
        All other parts remain unchanged.
        The history shows each change in detail.
        Further improvements are planned.
        If you find a problem, please open a ticket.
        """)),
    "Upgrade note": dict(open={k: lines("""
        We recommend that all users update to version [version].
        Users of [repository] should plan the update to [version].
        The update to [version] can be carried out in the usual way.
        Before you update [repository], please make a backup.
        The update can be installed in the usual way.
        Please read this note before you use the new state of [repository].
        If you use the branch [branch], please update your local copy.
        """) for k in RELEASE_OPEN}, mid={k: v + lines("""
        Save all open work before you begin.
        Try the update in a test environment first.
        Existing settings are kept.
        Dependencies should be checked after the update.
        The update takes only a short time.
        If a problem occurs, you can return to the earlier version.
        After the update, check the most important functions.
        """) for k, v in RELEASE_MID.items()}, facts=RELEASE_FACT_LINES, close=lines("""
        If you need help, please contact the engineering team.
        Please report any problem in a ticket.
        We recommend that you update soon.
        After a short test, the new version is ready for use.
        """)),
}

INCIDENT_AIMS = {
    "the incident is open": "open", "the incident is resolved": "resolved",
    "the change was rolled back": "rollback", "an issue was reported": "issue",
    "": "open",
}

INCIDENT_FACT = {
    "*": """
        The environment concerned is [environment].
        The incident affects [service] in [environment].
        The ticket is [ticket].
        All details are recorded in the ticket [ticket].
        It was reported by [reporter].
        [reporter] reported the problem.
        The version in use is [version].
        The problem was seen in version [version].
        The current status is [status].
        The status is recorded as [status].
        It was first noticed at [detected_at].
        The problem was detected at [detected_at].
        The service concerned is [service].
        """,
    "open": """
        So far, the incident has lasted [duration].
        The problem in [service] was noticed at [detected_at] and is still being examined.
        """,
    "resolved": """
        Normal operation was restored at [resolved_at].
        The incident lasted from [detected_at] to [resolved_at].
        The incident was resolved at [resolved_at] after [duration].
        In total, the incident lasted [duration].
        Since [resolved_at], [service] has been running normally again.
        """,
    "rollback": """
        The change was rolled back at [resolved_at].
        The rollback was completed at [resolved_at].
        The rollback concerns version [version].
        The problem lasted [duration] in total.
        """,
    "issue": """
        [reporter] reported the issue at [detected_at].
        The report mentions version [version].
        """,
}
INCIDENT_FACT = {k: lines(v) for k, v in INCIDENT_FACT.items()}

INCIDENT_OPEN = {
    "Summary": pools(
        open="""
        The incident [incident] in [service] is still open.
        The incident [incident] is still open and is being examined.
        The service [service] is currently affected by the incident [incident].
        Since [detected_at], [service] has been affected by a problem.
        An incident in [service] is being examined by the team.
        An incident has been reported and is still open.
        """,
        resolved="""
        The incident [incident] in [service] has been resolved.
        The incident [incident] is resolved, and normal operation has been restored.
        The problem in [service] has been resolved.
        The incident in [service] was resolved at [resolved_at].
        The incident has been resolved.
        """,
        rollback="""
        Because of the incident [incident], the latest change to [service] was rolled back.
        The latest change to [service] has been rolled back.
        After the incident [incident], the change was rolled back.
        The change was rolled back in order to restore normal operation.
        Version [version] of [service] was rolled back.
        """,
        issue="""
        An issue in [service] has been reported.
        [reporter] has reported the issue [incident].
        The issue [incident] was reported for [service].
        A new issue has been reported and recorded in the ticket [ticket].
        A new issue has been reported.
        """),
    "Impact": pools(
        open="""
        Users of [service] may currently notice errors or delays.
        The incident [incident] still affects users of [service].
        The impact of the incident [incident] is still being examined.
        At the moment, [service] can be used only with limits.
        The full impact is not yet known.
        """,
        resolved="""
        During the incident, users of [service] noticed errors or delays.
        The incident [incident] affected users of [service] for [duration].
        While the incident lasted, [service] was available only with limits.
        The impact ended when normal operation was restored.
        The impact of the incident [incident] was limited to [environment].
        """,
        rollback="""
        Before the rollback, users of [service] noticed errors or delays.
        The change affected users of [service] until it was rolled back.
        The incident [incident] affected users until the change was rolled back.
        The impact ended with the rollback of the change.
        """,
        issue="""
        According to the report, users of [service] may notice errors.
        The issue [incident] may affect users of [service].
        The impact of the reported issue is still being assessed.
        So far, the impact appears to be limited.
        """),
    "Next steps": pools(
        open="""
        The team continues to look for the cause of the incident [incident].
        The next step is to find the cause of the problem in [service].
        Work on the incident continues until [service] runs normally again.
        The team continues to look for the cause.
        """,
        resolved="""
        After the incident [incident], the team examines the cause in detail.
        Now that the incident is resolved, the cause is being examined.
        The next step is a review of the incident in [service].
        The team will review the incident together.
        """,
        rollback="""
        After the rollback, the change is being examined in detail.
        Before the change to [service] is introduced again, it will be tested thoroughly.
        The team looks for the cause that led to the rollback.
        The next step is to correct the change and to test it again.
        """,
        issue="""
        The reported issue in [service] will now be examined.
        As a next step, the team tries to repeat the issue [incident].
        The team will examine the report and decide on its priority.
        The next step is to confirm the issue.
        """),
}

INCIDENT_MID = {
    "Summary": pools(
        open="""
        The team is working on a solution.
        The cause is not yet known.
        Users will be informed as soon as there is news.
        Temporary measures are being prepared.
        """,
        resolved="""
        The cause has been found and corrected.
        All functions are available again.
        The service is being watched closely.
        Users do not need to take any action.
        """,
        rollback="""
        The earlier version is in use again.
        The service is stable after the rollback.
        The change will not be introduced again before it has been checked.
        The cause is being examined by the team.
        """,
        issue="""
        The team has received the report and is checking the details.
        It is not yet clear how many users are affected.
        The report has been recorded and assigned.
        First checks have begun.
        """),
    "Impact": pools(
        open="""
        Some requests take longer than usual or fail.
        Other services are not affected as far as is known.
        No loss of data has been found so far.
        Users are asked to be patient and to repeat failed actions later.
        """,
        resolved="""
        Some requests took longer than usual or failed.
        Other services were not affected.
        No loss of data has been found.
        Failed actions can now be repeated.
        """,
        rollback="""
        Some requests failed while the change was active.
        Other services were not affected.
        No loss of data has been found.
        Functions introduced with the change are not available for now.
        """,
        issue="""
        Other reports of the same kind are being collected.
        No loss of data is known at present.
        Normal work can continue in most cases.
        Users who notice the same problem should add a note to the report.
        """),
    "Next steps": pools(
        open="""
        Logs and recent changes are being checked.
        Temporary measures reduce the effect on users.
        The next update follows as soon as new facts are known.
        If necessary, recent changes will be withdrawn.
        """,
        resolved="""
        The lessons learned will be recorded and shared.
        Additional monitoring helps to detect similar problems earlier.
        A test will be added so that the fault does not return.
        The documentation will be updated.
        """,
        rollback="""
        A corrected version will be prepared and reviewed.
        Additional tests are planned before the next attempt.
        The process for approving changes will be checked.
        The results will be shared with all teams.
        """,
        issue="""
        Missing details will be requested from the person who reported it.
        If the issue is confirmed, it will be planned as a task.
        The report will be compared with known problems.
        The priority depends on the effect on users.
        """),
}

INCIDENT_CLOSE = pools(
    open="""
        A further update will follow as soon as possible.
        Until then, the incident remains open.
        We apologise for the inconvenience and thank all users for their patience.
        """,
    resolved="""
        We apologise for the inconvenience and thank all users for their patience.
        The incident can therefore be closed.
        A short review will follow.
        """,
    rollback="""
        Until then, the earlier version remains in use.
        We apologise for the inconvenience.
        A further update will follow when the cause is known.
        """,
    issue="""
        A further update will follow after the first checks.
        We are grateful for the report.
        The result will be recorded and shared.
        """)
