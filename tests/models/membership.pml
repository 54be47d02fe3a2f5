/* Changers (docs/protocols/membership.md): which generations can be in force, small enough to be searched completely.
 * Safekeepers 0 to 3, of which 0, 1, 2 are the members at first. Changers put 3 in the place of 2 or of 1, make half a
 * change a fact, undo it, compete, and die at any moment: each generation number up to GENERATIONS is one run of a changer.
 * What WAL has to do with it: membership_wal.pml, which takes for granted what is shown here.
 *
 * What anybody said stays true, so it is counted when it is said, and a changer may learn of it then or never.
 *
 * Checked: at no moment do the acceptors that are in one generation make a quorum of it, and those in another one make a
 * quorum of that. -DBUG_... breaks one rule; the search must find that (test_models.py). */

#ifndef GENERATIONS
#define GENERATIONS 5
#endif
#define NEWCOMER 3

/* What a generation may be: the first members; joint and then stable with 3 for 2 (A) or for 1 (B); undone. */
#define NOTHING 0
#define FIRST 1
#define JOINT_A 2
#define STABLE_A 3
#define UNDONE_A 4
#define JOINT_B 5
#define STABLE_B 6
#define UNDONE_B 7

#define M_FIRST 7  /* 0 1 2 */
#define M_A 11     /* 0 1 3 */
#define M_B 13     /* 0 2 3 */
#define IS_JOINT(w) ((w) == JOINT_A || (w) == JOINT_B)
#define MEMBERS(w) ((w) == STABLE_A -> M_A : ((w) == STABLE_B -> M_B : M_FIRST))
#define NEW_MEMBERS(w) ((w) == JOINT_A || (w) == STABLE_A -> M_A : ((w) == JOINT_B || (w) == STABLE_B -> M_B : M_FIRST))
/* The half that a stable one has left. */
#define PREVIOUS(w) ((w) == UNDONE_A -> M_A : ((w) == UNDONE_B -> M_B : M_FIRST))
#define HAS_PREVIOUS(w) (!IS_JOINT(w) && (w) != FIRST)

#define MAJORITY(members, set) ((((members) & (set)) & (((members) & (set)) - 1)) != 0)
#ifdef BUG_ONE_HALF
#define QUORUM(w, set) MAJORITY(MEMBERS(w), set)
#else
#define QUORUM(w, set) (MAJORITY(MEMBERS(w), set) && MAJORITY(NEW_MEMBERS(w), set))
#endif

byte in[4];                          /* the generation that is in force at an acceptor; 0: it has no timeline */
byte promised[4];                    /* to the changer of this number */
byte what[GENERATIONS + 1];          /* as proposed by its changer */
byte prepared[GENERATIONS + 1];      /* who promised it */
byte seen[GENERATIONS + 1];          /* the highest generation that they told of */
byte accepted[GENERATIONS + 1];      /* who accepted it */

#define IN_FORCE(g) QUORUM(what[g], accepted[g])
#define CREATED(n) (!IS_JOINT(what[n]) || ((accepted[n] >> NEWCOMER) & 1))
#ifdef BUG_CHANGER_SKIPS_PREPARE
#define PREPARED(h, n) true
#else
#ifdef BUG_PREVIOUS_NOT_ASKED
#define PREPARED(h, n) QUORUM(what[h], prepared[n])
#else
#define PREPARED(h, n) (QUORUM(what[h], prepared[n]) && \
                        (!HAS_PREVIOUS(what[h]) || IN_FORCE(h) || MAJORITY(PREVIOUS(what[h]), prepared[n])))
#endif
#endif
#ifdef BUG_BUILT_ON_A_MINORITY
#define MAY_BUILD_ON(h) true
#else
#define MAY_BUILD_ON(h) IN_FORCE(h)
#endif

/* At most one generation makes a quorum of those who are in it. */
inline check() {
  quorums = 0;
  for (g : 1 .. GENERATIONS) {
    here = (in[0] == g -> 1 : 0) + (in[1] == g -> 2 : 0) + (in[2] == g -> 4 : 0) + (in[3] == g -> 8 : 0);
    if
    :: QUORUM(what[g], here) -> quorums++
    :: else
    fi
  }
  assert(quorums <= 1);
  g = 0; here = 0; quorums = 0
}

active proctype changers() {
  byte a, g, h, n, here, quorums;
  d_step {
    for (a : 0 .. 2) { in[a] = 1; promised[a] = 1 }
    a = 0;
    what[1] = FIRST; accepted[1] = M_FIRST
  }
  do
  :: atomic {
       /* Any number, any acceptor. */
       n = 2;
       do
       :: n < GENERATIONS -> n++
       :: break
       od;
       if :: a = 0 :: a = 1 :: a = 2 :: a = 3 fi;
       if
       :: what[n] == NOTHING && in[a] != 0 && promised[a] < n && in[a] < n ->
            d_step {
              promised[a] = n;
              prepared[n] = prepared[n] | (1 << a);
              if
              :: in[a] > seen[n] -> seen[n] = in[a]
              :: else
              fi
            }
       :: what[n] == NOTHING && a == 0 ->
            /* The highest generation that the changer knows of: told with a promise, or heard of otherwise. */
            h = (seen[n] > 0 -> seen[n] : 1);
            do
            :: h < n - 1 -> h++
            :: accepted[h] != 0 -> break
            :: h == n - 1 && accepted[h] == 0 -> h = 0; break
            od;
            if
            :: h != 0 && PREPARED(h, n) ->
                 if
                 :: h > 1 -> what[n] = what[h] /* made a fact first */
                 :: MAY_BUILD_ON(h) && (what[h] == FIRST || what[h] == UNDONE_A || what[h] == UNDONE_B) ->
                      if :: what[n] = JOINT_A :: what[n] = JOINT_B fi
                 :: MAY_BUILD_ON(h) && IS_JOINT(what[h]) -> what[n] = what[h] + 1
                 :: MAY_BUILD_ON(h) && IS_JOINT(what[h]) -> what[n] = what[h] + 2
                 :: else
                 fi
            :: else
            fi;
            if
            :: what[n] != NOTHING -> prepared[n] = 0; seen[n] = 0 /* not needed any more */
            :: else
            fi;
            h = 0
       /* The newcomer is created by a joint one, before anybody else hears of it. */
       :: what[n] != NOTHING && in[a] < n && promised[a] <= n && (in[a] != 0 || (a == NEWCOMER && IS_JOINT(what[n]))) &&
          (a == NEWCOMER || CREATED(n)) ->
            d_step {
              in[a] = n; promised[a] = n;
              accepted[n] = accepted[n] | (1 << a);
              check()
            }
       :: else
       fi;
       a = 0; n = 0
     }
  od
}
